"""Curves over time, and the band of a service's states. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from xml.etree.ElementTree import Element

from vllm_multinode.operate.markup import Content, drawing, node
from vllm_multinode.operate.page.picture import kind_of
from vllm_multinode.operate.reading import Change, Recovery
from vllm_multinode.operate.screen import clock
from vllm_multinode.terminal.durations import age

WIDTH: Final = 360
_HEIGHT: Final = 120
_LEFT: Final = 46
_BOTTOM: Final = 18
_TOP: Final = 8
_BAND: Final = 40
_STEPS: Final = {"good": 9, "waits": 20, "bad": 31}


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Attributes:
        name: in the legend.
        points: Unix time in seconds, and a value or None where nothing was measured.
    """

    name: str
    points: Sequence[tuple[float, float | None]]

    @property
    def last(self) -> float | None:
        """The newest value."""
        return next((value for _, value in reversed(self.points) if value is not None), None)


def chart(title: str, unit: str, curves: Sequence[Curve]) -> Element:
    """Curves over the same time, from zero up, with a legend that has the newest values."""
    times = [at for curve in curves for at, _ in curve.points]
    values = [value for curve in curves for _, value in curve.points if value is not None]
    legend = node("p", *_legend(curves, unit), class_="legend")
    if not values:
        nothing = node("p", "nothing measured yet", class_="none")
        return node("figure", node("figcaption", title), nothing, class_="chart")
    start, end = min(times), max(times)
    top = _round_up(max(values))
    words = f"{title}: " + ", ".join(f"{curve.name} {_amount(curve.last, unit)}" for curve in curves)
    picture = drawing(
        WIDTH, _HEIGHT, words, *_axes(start, end, top, unit),
        *(part for number, curve in enumerate(curves) for part in _drawn(curve, number, start, end, top)),
        class_="curves",
    )  # fmt: skip
    return node("figure", node("figcaption", title), picture, legend, class_="chart")


def band(changes: Sequence[Change], incidents: Sequence[Recovery], now: float) -> Element:
    """States as a strip from the first change to now, with a mark for each incident.

    The lower a state stands, the worse it is: colours alone do not tell it.
    """
    start = changes[0].at if changes else now
    span = max(1.0, now - start)
    ends = [*(one.at for one in changes[1:]), now]
    parts: list[Content] = []
    for change, end in zip(changes, ends, strict=True):
        left, right = ((at - start) / span * WIDTH for at in (change.at, end))
        title = node("title", f"{change.state} for {age(end - change.at)} {change.reason}")
        top = _STEPS[kind_of(change.state)]
        rect = node("rect", title, x=left, y=top, width=max(1.0, right - left), height=_BAND - top)
        parts.append(node("g", rect, class_=kind_of(change.state)))
    for one in incidents:
        if start <= one.at <= now:
            x = (one.at - start) / span * WIDTH
            title = node("title", f"{clock(one.at)} {one.cause}: {one.reason}")
            parts.append(
                node("path", title, d=f"M{x - 2:.1f} 0 H{x + 2:.1f} L{x:.1f} 7 Z", class_="incident")
            )
    last = changes[-1].state if changes else "not known"
    words = f"States since {clock(start)}: {len(changes)} changes, {len(incidents)} incidents, now {last}"
    strip = drawing(WIDTH, _BAND, words, *parts, class_="band")
    strip.set("preserveAspectRatio", "none")
    times = node("p", node("span", clock(start)), node("span", clock(now)), class_="ends")
    return node("figure", strip, times)


def _legend(curves: Sequence[Curve], unit: str) -> Iterator[Content]:
    for number, curve in enumerate(curves):
        key = node(
            "svg", node("path", d="M0 5 H24", class_=f"curve c{number}"), viewBox="0 0 24 10",
            aria_hidden="true", class_="key",
        )  # fmt: skip
        yield node("span", key, f" {curve.name} ", node("b", _amount(curve.last, unit)))


def _axes(start: float, end: float, top: float, unit: str) -> Iterator[Element]:
    bottom = _HEIGHT - _BOTTOM
    for part in (0.0, 0.5, 1.0):
        y = bottom - part * (bottom - _TOP)
        yield node("path", d=f"M{_LEFT} {y:g} H{WIDTH}", class_="grid")
        yield node(
            "text",
            _amount(top * part, unit if unit in ("s", "%") else ""),
            x=_LEFT - 4,
            y=y + 4,
            text_anchor="end",
            class_="axis",
        )
    yield from _ends(start, end, _HEIGHT - 4, _LEFT)


def _ends(start: float, end: float, y: float, left: float = 0) -> Iterator[Element]:
    yield node("text", _time_of_day(start), x=left, y=y, class_="axis")
    yield node("text", _time_of_day(end), x=WIDTH, y=y, text_anchor="end", class_="axis")


def _drawn(curve: Curve, number: int, start: float, end: float, top: float) -> Iterator[Element]:
    """Lines between neighbours that were measured; a lone value is a dot."""
    bottom, span = _HEIGHT - _BOTTOM, max(1.0, end - start)
    run: list[str] = []
    for at, value in [*curve.points, (end, None)]:
        if value is not None:
            x = _LEFT + (at - start) / span * (WIDTH - _LEFT - 2)
            run.append(f"{x:.1f} {bottom - value / top * (bottom - _TOP):.1f}")
        elif run:
            path = f"M{run[0]} h0.01" if len(run) == 1 else f"M{' L'.join(run)}"
            yield node("path", d=path, class_=f"curve c{number}")
            run = []


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, …; 1 for nothing."""
    step = 10.0**-6
    while step < value:
        for factor in (2.0, 5.0, 10.0):
            if step * factor >= value:
                return step * factor
        step *= 10
    return 1.0 if value <= 0 else step


def _amount(value: float | None, unit: str) -> str:
    """A number with three digits that count, and its unit."""
    if value is None:
        return "-"
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    if unit == "%":
        return f"{value * 100:.0f}%"
    number = f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"
    return f"{number} {unit}".rstrip()


def _time_of_day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%SZ")
