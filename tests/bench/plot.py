"""Curves as an SVG picture, both axes logarithmic."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Final

_WIDTH: Final = 720
_HEIGHT: Final = 400
_LEFT: Final = 70
_BOTTOM: Final = 50
_RIGHT: Final = 210
_TOP: Final = 20
_COLOURS: Final = ("#0b6e99", "#c4461f", "#4d7c0f", "#7c3aed", "#a16207", "#334155")


def svg(title: str, across: str, up: str, curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw curves.

    Args:
        title: for who cannot see it.
        across: what the horizontal axis counts.
        up: what the vertical axis counts.
        curves: points by name, all greater than zero.
    """
    points = [point for curve in curves.values() for point in curve]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = 10.0 ** math.floor(math.log10(min(ys))), 10.0 ** math.ceil(math.log10(max(ys)))
    horizontal = _scale(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT)
    vertical = _scale(low, high, _HEIGHT - _BOTTOM, _TOP)
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
    lines = [
        f'{begin} font-family="sans-serif" font-size="12"><title>{escape(title)}</title>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for x in sorted(set(xs)):
        at = horizontal(x)
        lines.append(f'<path d="M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#eee"/>')
        lines.append(_text(at, _HEIGHT - _BOTTOM + 18, f"{x:,.0f}", "middle"))
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        at = vertical(10.0**power)
        lines.append(f'<path d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        lines.append(_text(_LEFT - 8, at + 4, f"{10.0**power:g}", "end"))
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{horizontal(x):.1f},{vertical(y):.1f}" for x, y in curve)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines.append(_text(_WIDTH - _RIGHT + 12, vertical(curve[-1][1]) + 4, name, "start", colour))
    lines.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, across, "middle"))
    turned = f'transform="rotate(-90 16 {_HEIGHT / 2})"'
    lines.append(f'<text x="16" y="{_HEIGHT / 2}" text-anchor="middle" {turned}>{escape(up)}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Where a value stands between two ends, by its logarithm."""
    first, each = math.log10(low), (end - start) / (math.log10(high) - math.log10(low))
    return lambda value: start + (math.log10(value) - first) * each


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
