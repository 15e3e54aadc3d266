"""Tables of the page. Pure."""

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from vllm_multinode.operate.markup import Content, node


def data_table(
    place: str, titles: Sequence[str], rows: Sequence[Sequence[Content]], caption: str = ""
) -> Element:
    """A table that scrolls by itself where it is wider than the window.

    Args:
        place: its id.
        titles: of its columns.
        rows: of cells.
        caption: above it.
    """
    head = node("thead", node("tr", *(node("th", title, scope="col") for title in titles)))
    body = node("tbody", *(node("tr", *_cells(row)) for row in rows))
    table = node("table", node("caption", caption) if caption else None, head, body)
    label = caption or ", ".join(titles)
    return node("div", table, id=place, class_="scrolls", tabindex="0", role="region", aria_label=label)


def _cells(row: Sequence[Content]) -> Iterator[Element]:
    for cell in row:
        yield node("td", cell)
