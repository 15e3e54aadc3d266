"""The group as a picture: nodes with ranks and stages, and each worker's link to the head. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal
from xml.etree.ElementTree import Element

from vllm_multinode.operate.group_states import SILENT
from vllm_multinode.operate.markup import Content, drawing, node
from vllm_multinode.operate.status import RankStatus, ServiceStatus

Kind = Literal["good", "waits", "bad"]

_BOX: Final = 200
_HEIGHT: Final = 96
_GAP: Final = 20
_LEFT: Final = 24
_DROP: Final = 44
"""Between two rows: room for the links and their words."""
_LETTERS: Final = 28
"""Of a name in a box; the table has it whole."""
_GOOD: Final = frozenset({"serving", "ready"})
_WAITS: Final = frozenset(
    {"preflight", "forming", "starting", "draining", "stopping", "restarting", "not ready"}
)


def kind_of(state: str) -> Kind:
    """How a state is drawn."""
    return "good" if state in _GOOD else "waits" if state in _WAITS else "bad"


def groups(status: ServiceStatus) -> Iterator[Sequence[RankStatus]]:
    """The nodes of each group, the head first."""
    by_head: dict[str, list[RankStatus]] = {}
    for one in status.ranks:
        by_head.setdefault(one.group, []).append(one)
    for name in sorted(by_head):
        yield sorted(
            by_head[name], key=lambda one: (one.role != "head", one.rank is None, one.rank or 0, one.pod)
        )


def picture(ranks: Sequence[RankStatus], columns: int, class_: str) -> Element:
    """One group.

    Args:
        ranks: its nodes, the head first.
        columns: boxes side by side, at most.
        class_: of the drawing.
    """
    columns = max(1, min(columns, len(ranks) - 1))
    workers = [one for one in ranks if one.role != "head"]
    rows = [workers[start : start + columns] for start in range(0, len(workers), columns)]
    width = _LEFT + columns * (_BOX + _GAP)
    height = _HEIGHT + len(rows) * (_HEIGHT + _DROP) + 2
    content: list[Content] = [*(_box(one, _LEFT, 1) for one in ranks[:1] if one.role == "head")]
    if rows:
        content.insert(0, _trunk(len(rows)))
    for number, row in enumerate(rows):
        top = 1 + (number + 1) * (_HEIGHT + _DROP)
        content.insert(
            0, _line(_LEFT / 2, top - _DROP / 2, _LEFT + (len(row) - 1) * (_BOX + _GAP) + _BOX / 2, "trunk")
        )
        for place, one in enumerate(row):
            left = _LEFT + place * (_BOX + _GAP)
            content += [_link(one, left, top), _box(one, left, top)]
    drawn = drawing(width, height, _in_words(ranks), *content, class_=class_)
    # No larger than it is: a group of two would fill the window.
    drawn.set("width", f"{width:g}")
    return drawn


def link_of(one: RankStatus) -> tuple[Kind, str]:
    """The state of a worker's link to its head, and a word for it."""
    if one.rank is None:
        return "bad", "not joined"
    if one.silent_s is None:
        return "waits", "link not known"
    if one.silent_s > SILENT:
        return "bad", f"silent for {one.silent_s:.1f} s"
    return "good", f"heard {one.silent_s:.1f} s ago"


def place_of(one: RankStatus) -> str:
    """Rank and stages, such as rank 1, stages 2-3."""
    rank = f"rank {one.rank}" if one.rank is not None else "no rank"
    if not one.stages:
        return rank
    first, last = one.stages[0], one.stages[-1]
    return f"{rank}, stage {first}" if first == last else f"{rank}, stages {first}-{last}"


def _trunk(rows: int) -> Element:
    """From the head down, past every row."""
    end = 1 + rows * (_HEIGHT + _DROP) - _DROP / 2
    return node(
        "path", d=f"M{_LEFT} {_HEIGHT / 2:g} H{_LEFT / 2:g} V{end:g}", class_="trunk"
    )  # fmt: skip


def _line(x: float, y: float, to: float, class_: str) -> Element:
    return node("path", d=f"M{x:g} {y:g} H{to:g}", class_=class_)


def _link(one: RankStatus, left: float, top: float) -> Element:
    kind, word = link_of(one)
    middle = left + _BOX / 2
    return node(
        "g",
        node("path", d=f"M{middle:g} {top - _DROP / 2:g} V{top:g}", class_=f"link {kind}"),
        node("text", word, x=middle + 6, y=top - 7, class_="small"),
    )


def _box(one: RankStatus, left: float, top: float) -> Element:
    gpus = f"{one.gpus} x {one.accelerator or 'accelerator'}" if one.gpus else one.accelerator
    lines = (f"{one.role}, {place_of(one)}", one.state, one.node or one.pod, gpus)
    styles = ("strong", "state", "small", "small")
    words = [
        node("text", _cut(line), x=left + 12, y=top + 24 + 20 * number, class_=style)
        for number, (line, style) in enumerate(zip(lines, styles, strict=True))
        if line
    ]
    box = node("rect", x=left, y=top, width=_BOX, height=_HEIGHT, rx=6)
    return node(
        "g", node("title", f"{one.pod}: {one.state} {one.reason}"), box, *words, class_=kind_of(one.state)
    )


def _cut(text: str) -> str:
    """A name's beginning and end, which tell it from others."""
    return text if len(text) <= _LETTERS else f"{text[:12]}…{text[-(_LETTERS - 13) :]}"


def _in_words(ranks: Sequence[RankStatus]) -> str:
    parts = [
        f"{one.role} {one.pod}: {place_of(one)}, {one.state}"
        + (f", {link_of(one)[1]}" if one.role != "head" else "")
        for one in ranks
    ]
    return "The group. " + "; ".join(parts)
