"""Elements of HTML and SVG: whatever a name holds is text, never markup. Pure."""

from typing import Final
from xml.etree.ElementTree import Element, tostring

from vllm_multinode.contract.text import shown
from vllm_multinode.operate.masks import without_secrets

Content = Element | str | None
_LONGEST: Final = 600


def node(tag: str, *content: Content, **attributes: str | float | None) -> Element:
    """An element.

    Args:
        tag: its name.
        content: what it holds; None is left out.
        attributes: `class_` is written class, `aria_label` aria-label; those that are None are left out.
    """
    made = Element(tag)
    for name, value in attributes.items():
        if value is not None:
            made.set(name.rstrip("_").replace("_", "-"), _value(value))
    last: Element | None = None
    for part in content:
        if isinstance(part, Element):
            made.append(part)
            last = part
        elif part is not None:
            text = _text(part)
            if last is None:
                made.text = (made.text or "") + text
            else:
                last.tail = (last.tail or "") + text
    return made


def drawing(width: float, height: float, label: str, *content: Content, class_: str) -> Element:
    """A picture that scales; `label` says in words what it shows."""
    title = node("title", label)
    box = f"0 0 {width:g} {height:g}"
    return node("svg", title, *content, viewBox=box, role="img", aria_label=title.text, class_=class_)


def written(element: Element) -> str:
    """As HTML."""
    return tostring(element, encoding="unicode", method="html")


def _text(part: str) -> str:
    """Without secrets and control characters; line breaks and the white space around it stay."""
    return "\n".join(map(_line, part.split("\n")))


def _line(line: str) -> str:
    inner = line.strip()
    if not inner:
        return line
    start = len(line) - len(line.lstrip())
    return f"{line[:start]}{shown(without_secrets(inner), _LONGEST)}{line[start + len(inner) :]}"


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return "".join(one for one in value if one.isprintable())
    return f"{value:.1f}".removesuffix(".0")
