"""Curves and histograms of a benchmark as SVG: no library, no script, in light and in dark. Pure."""

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Final

from vllm_multinode.operate.bench.result import MEASURES, BenchResult, Latency, Measure

_WIDTH: Final = 640
_HEIGHT: Final = 320
_LEFT: Final = 64
_RIGHT: Final = 96
_TOP: Final = 40
_BOTTOM: Final = 44
_LINE: Final = 14
_STYLE: Final = (
    "text{font:12px sans-serif;fill:#222}.axis{stroke:#888}.grid{stroke:#ddd}"
    ".a{stroke:#0b6;fill:#0b6}.b{stroke:#07c;fill:#07c}.c{stroke:#c40;fill:#c40}"
    "polyline{fill:none!important;stroke-width:2}svg{background:#fff}"
    "@media(prefers-color-scheme:dark){svg{background:#181818}text{fill:#ddd}.grid{stroke:#333}}"
)
_CLASSES: Final = ("a", "b", "c")

Series = tuple[str, Sequence[tuple[float, float]]]


def charts(found: BenchResult) -> dict[str, str]:
    """SVG by file name: a curve and a histogram of each measure, and the throughput."""
    made = {"throughput.svg": _throughput(found)}
    for measure, title in MEASURES.items():
        name = measure.partition("_")[0]
        made[f"{name}.svg"] = _curves(found, measure, title)
        distributions = [
            (rung.concurrency, value)
            for rung in found.rungs
            if isinstance(value := getattr(rung, measure), Latency)
        ]
        for concurrency, value in distributions[-1:]:
            made[f"{name}-histogram.svg"] = histogram(f"{title} at concurrency {concurrency}", value)
    return made


def _throughput(found: BenchResult) -> str:
    points = [(float(rung.concurrency), rung.tokens_per_s) for rung in found.rungs]
    return chart("tokens per second by concurrency", "tok/s", [("tok/s", points)])


def _curves(found: BenchResult, measure: Measure, title: str) -> str:
    series: list[Series] = []
    for rank in ("p50", "p95", "p99"):
        points = [
            (float(rung.concurrency), float(getattr(value, rank)))
            for rung in found.rungs
            if (value := getattr(rung, measure)) is not None
        ]
        series.append((rank, points))
    return chart(f"{title} by concurrency", "ms", series)


def chart(title: str, unit: str, series: Sequence[Series]) -> str:
    """Lines over concurrencies, which double: the axis below is logarithmic, the other one begins at 0."""
    xs = sorted({x for _, points in series for x, _ in points})
    highest = max((y for _, points in series for _, y in points), default=0.0) or 1.0
    step = _step(highest)
    top = math.ceil(highest / step) * step
    low, high = (math.log2(xs[0]), math.log2(xs[-1])) if xs else (0.0, 1.0)

    def across(x: float) -> float:
        part = (math.log2(x) - low) / (high - low) if high > low else 0.5
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def up(y: float) -> float:
        return _HEIGHT - _BOTTOM - y / top * (_HEIGHT - _TOP - _BOTTOM)

    body = [_grid(up(step * number), f"{step * number:g}") for number in range(round(top / step) + 1)]
    body += [_label(across(x), _HEIGHT - _BOTTOM + 18, f"{x:g}", "middle") for x in xs]
    for (_, points), css in zip(series, _CLASSES, strict=False):
        if not points:
            continue
        line = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        body.append(f'<polyline class="{css}" points="{line}"/>')
        body += [f'<circle class="{css}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="3"/>' for x, y in points]
    ends = [(name, *points[-1]) for name, points in series if points]
    heights = _apart([up(y) for _, _, y in ends])
    body += [
        _label(across(x) + 8, height + 4, f"{name} {y:.4g}", "start")
        for (name, x, y), height in zip(ends, heights, strict=True)
    ]
    return _svg(f"{title}, {unit}", body)


def _apart(heights: Sequence[float]) -> list[float]:
    """Where labels stand that would stand in each other's lines: the lower one moves down."""
    moved = list(heights)
    order = sorted(range(len(moved)), key=lambda one: moved[one])
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + _LINE)
    return moved


def histogram(title: str, found: Latency) -> str:
    """Bars over milliseconds, the axis below logarithmic."""
    most = max(found.bins, default=0) or 1
    step = max(1.0, _step(float(most)))
    top = math.ceil(most / step) * step
    wide = (_WIDTH - _LEFT - _RIGHT) / max(1, len(found.bins))
    tall = _HEIGHT - _TOP - _BOTTOM
    body = [
        _grid(_HEIGHT - _BOTTOM - number * step / top * tall, f"{number * step:g}")
        for number in range(round(top / step) + 1)
    ]
    for number, count in enumerate(found.bins):
        height = count / top * tall
        body.append(
            f'<rect class="b" x="{_LEFT + number * wide:.1f}" y="{_HEIGHT - _BOTTOM - height:.1f}" '
            f'width="{wide * 0.9:.1f}" height="{height:.1f}"/>'
        )
    body += [
        _label(_LEFT + number * wide, _HEIGHT - _BOTTOM + 18, f"{found.edges[number]:.3g}", "middle")
        for number in range(0, len(found.edges), 6)
    ]
    told = f"p50 {found.p50:.4g}, p95 {found.p95:.4g}, p99 {found.p99:.4g} ms of {found.count}"
    body.append(_label(_LEFT, _HEIGHT - 8, told, "start"))
    return _svg(f"{title}, ms", body)


def _step(highest: float) -> float:
    """1, 2 or 5 times a power of ten, so that four to ten of them reach it."""
    rough = highest / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def _grid(y: float, text: str) -> str:
    line = f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
    return line + _label(_LEFT - 6, y + 4, text, "end")


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title, quote=True)}"><style>{_STYLE}</style>'
    )
    floor = _HEIGHT - _BOTTOM
    axis = f'<line class="axis" x1="{_LEFT}" y1="{floor}" x2="{_WIDTH - _RIGHT}" y2="{floor}"/>'
    return "\n".join([head, _label(_LEFT, 22, title, "start"), axis, *body, "</svg>"]) + "\n"
