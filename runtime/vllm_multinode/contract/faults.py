"""The first fault that pydantic names in a record, as messages have it."""

from typing import NamedTuple

from pydantic import ValidationError


class Fault(NamedTuple):
    """Where it is, with dots between the steps (empty for the whole), and what is wrong there."""

    place: str
    what: str

    def __str__(self) -> str:
        """Both, where both are known."""
        return f"{self.place}: {self.what}" if self.place else self.what


def first_fault(error: ValidationError) -> Fault:
    """The first one, without the value: it may be a secret, or long."""
    first = error.errors(include_url=False, include_input=False)[0]
    return Fault(".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, "))
