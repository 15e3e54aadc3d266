"""Curves and histograms of a benchmark: SVG for files, and the same drawings for the page. Pure."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final
from xml.etree.ElementTree import Element, tostring

from vllm_multinode.operate.bench.result import MEASURES, BenchResult, Latency, Measure
from vllm_multinode.operate.markup import drawing, node

_WIDTH: Final = 400
_HEIGHT: Final = 210
_LEFT: Final = 46
_RIGHT: Final = 72
_TOP: Final = 26
_BOTTOM: Final = 30
_LINE: Final = 13
_NAMESPACE: Final = "http://www.w3.org/2000/svg"
# The page's own style has the same classes.
_STYLE: Final = (
    "svg{background:#fff}text{font:12px sans-serif;fill:#222}.floor{stroke:#888}.grid{stroke:#ddd}"
    ".curve{fill:none;stroke-width:2}.c0{stroke:#0b57a4}.c1{stroke:#a03a00;stroke-dasharray:6 4}"
    ".c2{stroke:#6b2fa0;stroke-dasharray:1 4}.dot{fill:#222;stroke:none}.bar{fill:#0b57a4}"
    "@media(prefers-color-scheme:dark){svg{background:#181818}text{fill:#ddd}.grid{stroke:#333}"
    ".c0{stroke:#7ab8ff}.c1{stroke:#ffa76b}.c2{stroke:#d0a5ff}.dot{fill:#ddd}.bar{fill:#7ab8ff}}"
)

Series = tuple[str, Sequence[tuple[float, float]]]


def charts(found: BenchResult) -> dict[str, str]:
    """The drawings as files, by name: each whole in itself, with no script, in light and in dark."""
    return {f"{name}.svg": _file(element) for name, element in drawings(found).items()}


def drawings(found: BenchResult) -> dict[str, Element]:
    """By name: the throughput, and a curve and a histogram of each measure."""
    drawn = {"throughput": _throughput(found)}
    for measure, title in MEASURES.items():
        name = measure.partition("_")[0]
        drawn[name] = _curves(found, measure, title)
        distributions = [
            (rung.concurrency, value)
            for rung in found.rungs
            if isinstance(value := getattr(rung, measure), Latency)
        ]
        for concurrency, value in distributions[-1:]:
            drawn[f"{name}-histogram"] = histogram(f"{title} at concurrency {concurrency}", value)
    return drawn


def _throughput(found: BenchResult) -> Element:
    points = [(float(rung.concurrency), rung.tokens_per_s) for rung in found.rungs]
    return chart("tokens per second by concurrency", "tok/s", [("", points)])


def _curves(found: BenchResult, measure: Measure, title: str) -> Element:
    series: list[Series] = []
    for rank in ("p50", "p95", "p99"):
        points = [
            (float(rung.concurrency), float(getattr(value, rank)))
            for rung in found.rungs
            if (value := getattr(rung, measure)) is not None
        ]
        series.append((rank, points))
    return chart(f"{title} by concurrency", "ms", series)


def chart(title: str, unit: str, series: Sequence[Series]) -> Element:
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

    body = [
        part
        for number in range(round(top / step) + 1)
        for part in _grid(up(step * number), f"{step * number:g}")
    ]
    body += [_label(across(x), _HEIGHT - _BOTTOM + 15, f"{x:g}", "middle") for x in xs]
    for number, (_, points) in enumerate(series):
        line = " L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in points)
        body += [node("path", d=f"M{line}", class_=f"curve c{number}")] if len(points) > 1 else []
        body += [node("circle", cx=across(x), cy=up(y), r=2.5, class_="dot") for x, y in points]
    ends = [(name, *points[-1]) for name, points in series if points]
    heights = _apart([up(y) for _, _, y in ends])
    body += [
        _label(across(x) + 6, height + 4, f"{name} {y:.4g}".strip(), "start")
        for (name, x, y), height in zip(ends, heights, strict=True)
    ]
    return _drawing(f"{title}, {unit}", body)


def _apart(heights: Sequence[float]) -> list[float]:
    """Where labels stand that would stand in each other's lines: the lower one moves down."""
    moved = list(heights)
    order = sorted(range(len(moved)), key=lambda one: moved[one])
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + _LINE)
    return moved


def histogram(title: str, found: Latency) -> Element:
    """Bars over milliseconds, the axis below logarithmic."""
    most = max(found.bins, default=0) or 1
    step = max(1.0, _step(float(most)))
    top = math.ceil(most / step) * step
    wide = (_WIDTH - _LEFT - _RIGHT) / max(1, len(found.bins))
    floor, tall = _HEIGHT - _BOTTOM, _HEIGHT - _TOP - _BOTTOM
    body = [
        part
        for number in range(round(top / step) + 1)
        for part in _grid(floor - number * step / top * tall, f"{number * step:g}")
    ]
    for number, count in enumerate(found.bins):
        x, height = _LEFT + number * wide, count / top * tall
        body.append(node("rect", x=x, y=floor - height, width=wide * 0.9, height=height, class_="bar"))
    body += [
        _label(_LEFT + number * wide, floor + 13, f"{found.edges[number]:.3g}", "middle")
        for number in range(0, len(found.edges), 6)
    ]
    told = f"p50 {found.p50:.4g}, p95 {found.p95:.4g}, p99 {found.p99:.4g} ms of {found.count}"
    body.append(_label(_LEFT, _HEIGHT - 3, told, "start"))
    return _drawing(f"{title}, ms", body)


def _step(highest: float) -> float:
    """1, 2 or 5 times a power of ten, so that four to ten of them reach it."""
    rough = highest / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def _grid(y: float, text: str) -> Iterator[Element]:
    yield node("path", d=f"M{_LEFT} {y:.1f} H{_WIDTH - _RIGHT}", class_="grid")
    yield _label(_LEFT - 5, y + 4, text, "end")


def _label(x: float, y: float, text: str, anchor: str) -> Element:
    return node("text", text, x=x, y=y, text_anchor=anchor)


def _drawing(title: str, body: Sequence[Element]) -> Element:
    floor = node("path", d=f"M{_LEFT} {_HEIGHT - _BOTTOM} H{_WIDTH - _RIGHT}", class_="floor")
    return drawing(_WIDTH, _HEIGHT, title, _label(2, 14, title, "start"), floor, *body, class_="curves")


def _file(element: Element) -> str:
    style = node("style")
    style.text = _STYLE
    element.set("xmlns", _NAMESPACE)
    element.insert(1, style)
    return tostring(element, encoding="unicode") + "\n"
