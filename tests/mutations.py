"""Right answers with wrong places in them, for hypothesis."""

import copy
from collections.abc import Sequence
from typing import Any, Final

from hypothesis import strategies as st

ODD: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["\x1b[2J", "a\x00b", "\ud800", "../x", "/etc/passwd", "9" * 5000, "x" * 3000, "1e999", "٣", ""]
    ),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)
"""What stands in the place of something right."""


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a document, inner ones included."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for step, child in steps for place in [(*path, step), *places(child, (*path, step))]]


@st.composite
def mutated(draw: st.DrawFn, right: Any, odd: st.SearchStrategy[Any] = ODD, most: int = 3) -> Any:
    """A copy with up to `most` places that hold something else, are left out, or stand there twice."""
    changed = copy.deepcopy(right)
    for _ in range(draw(st.integers(0, most))):
        found = places(changed)
        if not found:
            break
        *above, last = draw(st.sampled_from(found))
        holder = _at(changed, above)
        match draw(st.sampled_from(["another value", "left out", "twice"])):
            case "another value":
                holder[last] = draw(odd)
            case "left out":
                del holder[last]
            case _ if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
            case _:
                holder[draw(st.text(max_size=8))] = holder[last]
    return changed


def _at(value: Any, path: Sequence[Any]) -> Any:
    for step in path:
        value = value[step]
    return value


@st.composite
def broken(draw: st.DrawFn, text: bytes) -> bytes:
    """The bytes as they are, cut, with others between them, or twice."""
    at = draw(st.integers(0, len(text)))
    return draw(
        st.sampled_from([text, text, text[:at], text + text])
        | st.binary(max_size=8).map(lambda b: text[:at] + b + text[at:])
    )
