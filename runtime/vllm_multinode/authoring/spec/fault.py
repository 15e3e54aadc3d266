"""One contradiction of a deployment spec."""

from typing import LiteralString, NamedTuple


class Fault(NamedTuple):
    """One contradiction.

    Attributes:
        path: the field to correct, by its names in Python.
        message: what is wrong with it.
        kind: of pydantic's error.
    """

    path: tuple[str | int, ...]
    message: str
    kind: LiteralString = "contradiction"
