"""A status as one screen of text: at most so many columns, and no word broken. Pure."""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from vllm_multinode.contract.text import shown
from vllm_multinode.operate.status import RankStatus, ServiceStatus
from vllm_multinode.terminal.durations import age

WIDTH: Final = 80
_GAP: Final = "  "
_INCIDENTS: Final = 3
_LINKS: Final = 4
_NAMED: Final = 5
"""Services that a heading names."""
_END_OF_TIME: Final = 253_402_300_800
"""The year 10000."""


def screen(status: ServiceStatus, now: float, width: int = WIDTH) -> list[str]:
    """One service, in full.

    Args:
        status: what to show.
        now: Unix time in seconds that ages are counted to.
        width: columns.
    """
    lines = [*_heading(status, now, width), ""]
    if status.ranks:
        lines += [*_nodes(status.ranks, width), ""]
    lines += list(_engines(status))
    lines += list(_links(status, width))
    lines += list(_incidents(status, now, width))
    if status.entrance:
        # A command is copied as it is; a terminal that is too narrow folds it itself.
        lines += ["endpoints:", *(f"  {line}" for line in status.entrance)]
    for sentence in status.unseen:
        lines += folded(f"not seen: {sentence}", width)
    return lines


def summary(found: Sequence[ServiceStatus], now: float, width: int = WIDTH) -> list[str]:
    """How many serve, and a line each; those that do not stand first, and why they do not, last."""
    found = sorted(found, key=lambda one: one.serving)
    down = [one.name for one in found if not one.serving]
    heading = f"{len(found) - len(down)} of {len(found)} services serve"
    if down:
        more = f" and {len(down) - _NAMED} more" if len(down) > _NAMED else ""
        heading = f"{heading}; not: {', '.join(down[:_NAMED])}{more}"
    rows = [
        (
            one.name,
            one.state,
            _since(one, now),
            f"{_present(one)}/{one.nodes if one.nodes is not None else '?'}",
            str(one.recoveries),
        )
        for one in found
    ]
    lines = [*folded(heading, width), ""]
    lines += table(("service", "state", "for", "nodes", "recoveries"), rows, right=(2, 3, 4))
    for one in found:
        if not one.serving and one.reason:
            lines += folded(f"{one.name}: {one.reason}", width)
    for sentence in dict.fromkeys(sentence for one in found for sentence in one.unseen):
        lines += folded(f"not seen: {sentence}", width)
    return lines


def _heading(status: ServiceStatus, now: float, width: int) -> Iterator[str]:
    title = (
        f"local run {status.name}"
        if status.place == "local"
        else f"{status.kind} {status.namespace}/{status.name}"
    )
    age = _since(status, now)
    lasting = f" for {age}" if age != "-" else ""
    yield from folded(f"{title}: {status.state}{lasting}", width)
    facts = [
        f"{_present(status)} of {status.nodes} nodes" if status.nodes is not None else "",
        f"TP {status.tensor_parallel}, PP {status.pipeline_parallel}" if status.tensor_parallel else "",
        f"executor {status.executor}" if status.executor else "",
        f"generation {status.generation}" if status.generation else "",
    ]
    if told := ", ".join(fact for fact in facts if fact):
        yield from folded(told, width)
    if status.reason:
        yield from folded(f"reason: {status.reason}", width)


def _nodes(ranks: Sequence[RankStatus], width: int) -> list[str]:
    """The table of nodes; names that it has no room for stand below it, whole."""
    columns = ("rank", "role", "state", "GPUs", "beat", "weights", "vLLM", "restarts")
    rows = [
        (
            "-" if one.rank is None else str(one.rank),
            one.role,
            one.state,
            "-" if one.gpus is None else str(one.gpus),
            "-" if one.silent_s is None else f"{one.silent_s:.1f} s",
            "-" if one.weights is None else f"{one.weights:.0%}",
            one.version or "-",
            str(one.restarts),
        )
        for one in ranks
    ]
    places = [(one.node or "-", one.pod) for one in ranks]
    whole = table(
        (*columns, "node", "pod"),
        [(*row, *place) for row, place in zip(rows, places, strict=True)],
        right=(0, 3, 4, 5, 7),
    )
    if max(map(len, whole)) <= width:
        lines = whole
    else:
        lines = table(columns, rows, right=(0, 3, 4, 5, 7))
        for one in ranks:
            rank = "-" if one.rank is None else str(one.rank)
            lines += folded(f"{rank:>4}{_GAP}{one.pod}" + (f" on {one.node}" if one.node else ""), width)
    for one in ranks:
        if one.reason and one.state != "serving":
            lines += folded(f"{one.pod}: {one.reason}", width)
    return lines


def _engines(status: ServiceStatus) -> Iterator[str]:
    for one in status.engines:
        parts = [
            f"cache {one.cache_used:.0%} used" if one.cache_used is not None else "",
            f"{one.running} running" if one.running is not None else "",
            f"{one.waiting} waiting" if one.waiting is not None else "",
            f"{one.preemptions} preempted" if one.preemptions else "",
        ]
        if told := ", ".join(part for part in parts if part):
            of = f" of {one.pod}" if len(status.engines) > 1 else ""
            yield f"engine{of}: {told}"


def _links(status: ServiceStatus, width: int) -> Iterator[str]:
    """The ways between the nodes, the slowest alone where there are many."""
    measured = [one for one in status.links if one.gbit_s is not None]
    shown_ones = measured
    if len(measured) > _LINKS:
        shown_ones = [min(measured, key=lambda one: one.gbit_s or 0.0)]
        yield f"slowest of {len(measured)} links:"
    for one in shown_ones:
        trip = f", round trip {one.round_trip_ms:.3g} ms" if one.round_trip_ms is not None else ""
        yield from folded(f"link {one.source} to {one.target}: {one.gbit_s:.3g} Gbit/s{trip}", width)
    for one in status.links:
        if one.reason:
            yield from folded(f"link {one.source} to {one.target} was not measured: {one.reason}", width)


def _incidents(status: ServiceStatus, now: float, width: int) -> Iterator[str]:
    if not status.recoveries and not status.incidents:
        return
    causes = ", ".join(
        f"{count} {cause}" for cause, count in sorted(status.recoveries_by_cause.items()) if count
    )
    yield from folded(f"recoveries: {status.recoveries}" + (f" ({causes})" if causes else ""), width)
    for one in status.incidents[-_INCIDENTS:]:
        when = f"{clock(one.at)}, {age(now - one.at)} ago, " if one.at else ""
        cause = f"{one.cause}: " if one.cause else ""
        yield from folded(f"  {when}{cause}{one.reason}", width)


def _present(status: ServiceStatus) -> int:
    """Nodes that are members of the group, or where no head tells, whose pod is ready."""
    ranked = sum(one.rank is not None for one in status.ranks)
    return ranked or sum(one.state in ("serving", "ready") for one in status.ranks)


def _since(status: ServiceStatus, now: float) -> str:
    return "-" if status.since is None else age(now - status.since)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Lines of columns as wide as what stands in them.

    Args:
        titles: of the columns.
        rows: their cells.
        right: columns that are aligned to the right.
    """
    cells = [list(titles), *([shown(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(titles))]
    return [
        _GAP.join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def folded(text: str, width: int = WIDTH) -> list[str]:
    """A sentence on as many lines as it takes, indented from the second on; a longer word stays whole."""
    indent = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        shown(text),
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def clock(at: float) -> str:
    """A time of day in UTC, with the date; the number itself where it is no time."""
    if not 0 <= at < _END_OF_TIME:
        return f"{at:g}"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
