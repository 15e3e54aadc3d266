"""Reads a pod's variables one at a time, and names the variable in every complaint."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.numbers import decimal, is_count, whole
from vllm_multinode.launcher.network import pod_address

T = TypeVar("T")
_LONGEST = 4096
"""Characters of a variable: of a path on Linux."""


class Variables:
    """An environment; each method gives the default where its variable is not set.

    Every method raises a MultinodeError, VARIABLE in most cases, for a value that is not what it should be.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str) -> str | None:
        """The text without space around it; None where it is not set."""
        value = self._environment.get(name)
        if value is None:
            return None
        if not value.strip():
            raise MultinodeError(
                ExitCode.VARIABLE, "is set but empty.", where=name, hint="Give it a value or remove it."
            )
        value = value.strip()
        # It is written into logs, headers and arguments.
        if len(value) > _LONGEST or not value.isprintable():
            what = f"holds a control character, or more than {_LONGEST} characters."
            raise MultinodeError(ExitCode.VARIABLE, what, where=name, hint="Give it a value of one line.")
        return value

    def required(self, name: str, given_by: str) -> str:
        """The text; `given_by` says whose task it was to set it."""
        value = self.text(name)
        if value is None:
            raise MultinodeError(ExitCode.VARIABLE, f"is not set; {given_by}.", where=name)
        return value

    def number(self, name: str, default: T, convert: Callable[[str], T], least: float, unit: str) -> T:
        """A number of some unit that is no less than `least`."""
        if self.text(name) is None:
            return default
        # As it is written: a space at its end is a mistake too.
        value = self._environment[name]
        try:
            number = convert(value)
            # T is int or float here; no bound may be infinite.
            valid = least <= float(number) < math.inf  # type: ignore[arg-type]
        except (ValueError, OverflowError):
            valid = False
        if not valid:
            raise MultinodeError(
                ExitCode.VARIABLE, f"'{value}' is not {unit} of at least {least:g}.", where=name
            )
        return number

    def count(self, name: str, default: T, least: int = 1) -> int | T:
        """A whole number."""
        return self.number(name, default, whole, least, "a whole number")  # type: ignore[arg-type]

    def seconds(self, name: str, default: float, least: float = 0.1) -> float:
        """A number of seconds."""
        return self.number(name, default, decimal, least, "a number of seconds")

    def port(self, name: str, default: int) -> int:
        """A TCP port."""
        port = self.number(name, default, whole, 1, "a port")
        if port > 65535:
            raise MultinodeError(ExitCode.VARIABLE, f"{port} is not a port: the last is 65535.", where=name)
        return port

    def port_range(self, name: str, default: tuple[int, int]) -> tuple[int, int]:
        """First and last of several TCP ports."""
        value = self.text(name)
        if value is None:
            return default
        first, _, last = value.partition("-")
        if not (is_count(first) and is_count(last) and 0 < int(first) < int(last) <= 65535):
            raise MultinodeError(
                ExitCode.VARIABLE, f"'{value}' is not a range of ports such as 20000-20999.", where=name
            )
        return int(first), int(last)

    def choice(self, name: str, default: str, choices: tuple[str, ...], code: ExitCode) -> str:
        """One of several words."""
        value = self.text(name) or default
        if value not in choices:
            raise MultinodeError(
                code, f"'{value}' is unknown.", where=name, hint=f"One of {', '.join(choices)}."
            )
        return value

    def switch(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self.text(name)
        if value is None:
            return default
        if value.lower() not in ("1", "0", "true", "false"):
            raise MultinodeError(ExitCode.VARIABLE, f"'{value}' is neither true nor false.", where=name)
        return value.lower() in ("1", "true")

    def address(self, name: str) -> str | None:
        """An IP address, or None."""
        value = self.text(name)
        return str(pod_address(name, value)) if value is not None else None

    def path(self, name: str) -> Path | None:
        """A path, or None."""
        value = self.text(name)
        return Path(value) if value is not None else None
