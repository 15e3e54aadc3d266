"""Strings that came from somebody else: of bounded length, and without control characters."""

from typing import Annotated, Any, Final

from pydantic import BeforeValidator

_ELLIPSIS: Final = "…"


def printable(text: str, limit: int) -> str:
    """One line of at most `limit` characters; white space becomes a space, whatever does not print a `?`."""
    cut = text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS
    if cut.isprintable():
        return cut
    return "".join(one if one.isprintable() else " " if one.isspace() else "?" for one in cut)


def _cleaning(limit: int) -> BeforeValidator:
    def clean(value: Any) -> Any:
        return printable(value, limit) if isinstance(value, str) else value

    return BeforeValidator(clean)


Name = Annotated[str, _cleaning(253)]
"""Of a pod, a version, a state: as long as Kubernetes lets a name be."""

Line = Annotated[str, _cleaning(1000)]
"""A reason, a path, a hint."""
