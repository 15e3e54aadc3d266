"""One contradiction of a deployment spec."""

from typing import NamedTuple


class Fault(NamedTuple):
    """One contradiction: the field to correct, by its names in Python, and what is wrong with it."""

    path: tuple[str | int, ...]
    message: str
