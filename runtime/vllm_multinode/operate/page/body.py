"""What the page says of services: state and reason in large letters, then pictures, then tables. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode
from xml.etree.ElementTree import Element

from vllm_multinode.operate.bench.result import BenchResult
from vllm_multinode.operate.doctor import Diagnosis, Finding
from vllm_multinode.operate.latency import Latency
from vllm_multinode.operate.markup import Content, node
from vllm_multinode.operate.page.charts import Curve, band, chart
from vllm_multinode.operate.page.load import under_load
from vllm_multinode.operate.page.picture import groups, kind_of, picture
from vllm_multinode.operate.page.tables import data_table
from vllm_multinode.operate.samples import History, Sample
from vllm_multinode.operate.screen import clock
from vllm_multinode.operate.status import RankStatus, ServiceStatus
from vllm_multinode.terminal.durations import age

_COLUMNS: Final = 4
_LATEST: Final = 10
_WHOLE: Final = 5
"""As many services are shown in full on one page; of more, the one that was chosen."""


@dataclass(frozen=True)
class View:
    """One service, as the page shows it.

    Attributes:
        status: now.
        diagnosis: of the same look.
        history: what was seen of it so far.
        at: Unix time in seconds of the look.
        bench: its last benchmark; None where none was kept.
    """

    status: ServiceStatus
    diagnosis: Diagnosis
    history: History
    at: float
    bench: BenchResult | None = None


@dataclass(frozen=True)
class Page:
    """All that is shown.

    Attributes:
        views: the services.
        chosen: name of the one that is shown in full; empty for as many as there is room for.
        now: Unix time in seconds.
        failure: why the latest look has failed; empty where it has not.
        in_full: show all in full, and lead from the table to their places: for a file.
    """

    views: Sequence[View]
    now: float
    chosen: str = ""
    failure: str = ""
    in_full: bool = False

    @property
    def shown(self) -> Sequence[View]:
        """Those that are shown in full."""
        if self.chosen:
            return [view for view in self.views if view.status.name == self.chosen]
        return self.views if self.in_full or len(self.views) <= _WHOLE else ()

    @property
    def title(self) -> str:
        """Of the window: names and states."""
        shown = self.shown or self.views
        named = ", ".join(f"{view.status.name}: {view.status.state}" for view in shown[:3])
        return f"{named or 'no service'} - multinode"


def main(page: Page) -> Element:
    """The whole content."""
    parts: list[Content] = []
    if page.failure:
        parts.append(node("p", f"The last refresh failed: {page.failure}", class_="failure", role="alert"))
    if len(page.views) > 1:
        parts.append(_overview(page))
    parts += [_service(view, page.now) for view in page.shown]
    if not page.views:
        parts.append(node("p", "There is no service.", class_="none"))
    elif page.chosen and not page.shown:
        parts.append(node("p", f"Service {page.chosen} no longer exists.", class_="failure"))
    return node("main", *parts, id="main", tabindex="-1")


def summary(page: Page) -> str:
    """A sentence for whoever hears the page: it changes only where a state does."""
    return "; ".join(f"{view.status.name} {view.status.state}" for view in page.views)


def _overview(page: Page) -> Element:
    def row(view: View) -> list[Content]:
        status = view.status
        place = f"#{_place(status)}" if page.in_full else f"?{urlencode({'service': status.name})}"
        current = "page" if page.chosen == status.name else None
        link = node("a", status.name, href=place, id=f"to-{_place(status)}", aria_current=current)
        lasting = "-" if status.since is None else age(page.now - status.since)
        return [link, _state(status.state), lasting, _complete(status), view.diagnosis.sentence]

    heading = node("h2", f"{len(page.views)} services")
    table = data_table(
        "services", ("service", "state", "for", "nodes", "why"), [row(view) for view in page.views]
    )
    back = node("p", node("a", "All services", href="?", id="all")) if page.chosen else None
    return node("section", heading, table, back)


def _service(view: View, now: float) -> Element:
    status, diagnosis = view.status, view.diagnosis
    place = _place(status)
    lasting = f" for {age(now - status.since)}" if status.since is not None else ""
    old = f"seen {age(now - view.at)} ago" if now - view.at >= _LATEST else ""
    return node(
        "article",
        node("h1", node("span", f"{_kind(status)} "), status.name),
        node("p", _state(status.state), lasting, class_=f"large {kind_of(status.state)}"),
        node("p", diagnosis.sentence, class_="reason"),
        node("p", old, class_="failure") if old else None,
        _next(diagnosis),
        _picture(status),
        _over_time(view, now),
        _measured(view.history, place),
        under_load(view.bench, place) if view.bench is not None else None,
        _findings(diagnosis),
        _nodes(status),
        _way_in(status),
        *(node("p", f"Not seen: {sentence}", class_="unseen") for sentence in diagnosis.unseen),
        id=place,
        tabindex="-1",
    )  # fmt: skip


def _kind(status: ServiceStatus) -> str:
    return "Local run" if status.place == "local" else f"{status.kind} {status.namespace} /"


def _place(status: ServiceStatus) -> str:
    """An id on the page; names of services are DNS labels, those of runs are not."""
    letters = "".join(one if one.isalnum() or one in "-_" else "-" for one in status.name)
    return f"{status.kind.lower()}-{letters}"


def _complete(status: ServiceStatus) -> str:
    ranked = sum(one.rank is not None for one in status.ranks)
    return f"{ranked} of {status.nodes}" if status.nodes is not None else str(len(status.ranks))


def _state(state: str) -> Element:
    return node("span", state, class_=f"state {kind_of(state)}")


def _next(diagnosis: Diagnosis) -> Content:
    return node("p", "Next: ", node("code", diagnosis.command)) if diagnosis.command else None


def _picture(status: ServiceStatus) -> Content:
    drawn: list[Content] = []
    for ranks in groups(status):
        drawn += [picture(ranks, _COLUMNS, "group wide"), picture(ranks, 1, "group narrow")]
    if not drawn:
        return None
    facts = [
        f"TP {status.tensor_parallel}, PP {status.pipeline_parallel}" if status.tensor_parallel else "",
        f"executor {status.executor}" if status.executor else "",
        f"{_complete(status)} nodes",
    ]
    return node(
        "section", node("h2", "Group"), node("p", ", ".join(filter(None, facts))), *drawn, _wire(status)
    )


def _wire(status: ServiceStatus) -> Content:
    """What was measured between the nodes before the engine started; nothing where that was off."""
    if not status.links:
        return None
    rows = [
        (
            one.source,
            one.target,
            "-" if one.round_trip_ms is None else f"{one.round_trip_ms:.2f} ms",
            "-" if one.gbit_s is None else f"{one.gbit_s:.2f} Gbit/s",
            one.reason,
        )
        for one in status.links
    ]
    titles = ("from", "to", "round trip", "bandwidth", "reason")
    return data_table(f"wire-{_place(status)}", titles, rows, "Between the nodes, before the engine started")


def _over_time(view: View, now: float) -> Element:
    history, status = view.history, view.status
    place = _place(status)
    causes = ", ".join(
        f"{count} {cause}" for cause, count in sorted(status.recoveries_by_cause.items()) if count
    )
    counted = f"Recoveries: {status.recoveries}" + (f" ({causes})" if causes else "")
    incidents = [
        (clock(one.at) if one.at else "-", one.cause, one.reason)
        for one in list(reversed(history.incidents))[:_LATEST]
    ]
    changes = [(clock(one.at), one.state, one.reason) for one in list(reversed(history.changes))[:_LATEST]]
    return node(
        "section",
        node("h2", "State over time"),
        band(history.changes, history.incidents, now),
        node("p", counted),
        data_table(
            f"incidents-{place}", ("time", "cause", "reason"), incidents, "Incidents, the newest first"
        )
        if incidents
        else None,
        _details(
            "changes",
            status,
            "Changes of state",
            data_table(f"states-{place}", ("time", "state", "reason"), changes),
        ),
    )


def _measured(history: History, place: str) -> Element:
    samples = history.samples
    charts = [
        chart("Tokens out", "tok/s", [_curve("given out", samples, lambda one: one.generation_tokens)]),
        chart("Tokens in", "tok/s", [_curve("taken in", samples, lambda one: one.prompt_tokens)]),
        chart(
            "Requests", "",
            [
                _curve("running", samples, lambda one: one.running),
                _curve("waiting", samples, lambda one: one.waiting),
            ],
        ),
        chart("KV cache", "%", [_curve("used", samples, lambda one: one.cache_used)]),
        chart("To the first token", "s", _quantiles(samples, lambda one: one.first_token)),
        chart("Between two tokens", "s", _quantiles(samples, lambda one: one.between_tokens)),
        chart("Whole request", "s", _quantiles(samples, lambda one: one.whole_request)),
    ]  # fmt: skip
    titles = ("time", "out tok/s", "req/s", "running", "waiting", "first token p50", "p95")
    rows = [_row(one) for one in reversed(samples[-_LATEST:])]
    numbers = node(
        "details",
        node("summary", "Numbers", id=f"numbers-{place}"),
        data_table(f"rows-{place}", titles, rows),
    )
    grid = node("div", *charts, class_="charts")
    return node("section", node("h2", "Throughput and latency"), grid, numbers)


def _curve(name: str, samples: Sequence[Sample], value: Callable[[Sample], float | None]) -> Curve:
    return Curve(name, [(one.at, value(one)) for one in samples])


def _quantiles(samples: Sequence[Sample], measured: Callable[[Sample], Latency | None]) -> list[Curve]:
    found = [(one.at, measured(one)) for one in samples]
    return [
        Curve("p50", [(at, one.p50 if one else None) for at, one in found]),
        Curve("p95", [(at, one.p95 if one else None) for at, one in found]),
        Curve("p99", [(at, one.p99 if one else None) for at, one in found]),
    ]


def _row(one: Sample) -> tuple[str, ...]:
    def shown(value: float | None, form: str = ".1f") -> str:
        return "-" if value is None else format(value, form)

    first = one.first_token
    return (
        clock(one.at),
        shown(one.generation_tokens),
        shown(one.finished, ".2f"),
        shown(one.running, ".0f"),
        shown(one.waiting, ".0f"),
        "-" if first is None else f"{first.p50:.3f} s",
        "-" if first is None else f"{first.p95:.3f} s",
    )


def _findings(diagnosis: Diagnosis) -> Content:
    if not diagnosis.findings:
        return None
    items = [_finding(one) for one in diagnosis.findings]
    evidence = [node("li", line) for line in diagnosis.evidence]
    seen = [node("h3", "Seen"), node("ul", *evidence)] if evidence else []
    return node("section", node("h2", "Why"), node("ul", *items, class_="findings"), *seen)


def _finding(one: Finding) -> Element:
    return node(
        "li",
        node("b", one.cause), f" ({one.page}) {one.subject} {one.what} ",
        node("span", f"{one.remedy} ") if one.remedy else None,
        node("code", one.command) if one.command else None,
    )  # fmt: skip


def _nodes(status: ServiceStatus) -> Element:
    def row(one: RankStatus) -> list[Content]:
        return [
            "-" if one.rank is None else str(one.rank),
            one.role,
            ", ".join(map(str, one.stages)) or "-",
            _state(one.state),
            one.pod,
            one.node or "-",
            f"{one.gpus or '-'} {one.accelerator}".strip(),
            "-" if one.silent_s is None else f"{one.silent_s:.1f} s",
            "-" if one.weights is None else f"{one.weights:.0%}",
            one.version or "-",
            str(one.restarts),
        ]

    titles = ("rank", "role", "stages", "state", "pod", "node", "GPUs", "beat", "weights", "vLLM", "restarts")
    table = data_table(f"nodes-{_place(status)}", titles, [row(one) for one in status.ranks])
    return node("section", node("h2", "Nodes"), table)


def _way_in(status: ServiceStatus) -> Content:
    if not status.entrance:
        return None
    return node("section", node("h2", "Way in"), node("pre", node("code", "\n".join(status.entrance))))


def _details(name: str, status: ServiceStatus, title: str, content: Element) -> Element:
    return node("details", node("summary", title, id=f"{name}-{_place(status)}"), content)
