"""The first fault that pydantic names in a record, as messages have it."""

from typing import NamedTuple

from pydantic import ValidationError


class Fault(NamedTuple):
    """The steps to its place (none for the whole), and what is wrong there."""

    steps: tuple[int | str, ...]
    what: str

    @property
    def place(self) -> str:
        """The steps with dots between them."""
        return ".".join(map(str, self.steps))

    def __str__(self) -> str:
        """Both, where both are known."""
        return f"{self.place}: {self.what}" if self.place else self.what


def first_fault(error: ValidationError) -> Fault:
    """The first one, without the value: it may be a secret, or long."""
    first = error.errors(include_url=False, include_input=False)[0]
    return Fault(first["loc"], first["msg"].removeprefix("Value error, "))
