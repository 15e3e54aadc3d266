"""Reads numbers out of a config.json: the field is named in every refusal, and nothing absurd passes."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

# Beyond these no model is: a number above is a mistake, and would take the arithmetic with it.
MOST = 1 << 32
MOST_LAYERS = 4096
_MOST_LISTED = 16 * MOST_LAYERS


class Fields:
    """One object of a config.json, with what transformers takes for the fields that it leaves out.

    Args:
        values: the object.
        place: how to name it in a message.
        model_type: whose class defaults stand in for absent fields; the object's own by default.
    """

    def __init__(self, values: Mapping[str, Any], place: str, model_type: str = "") -> None:
        self.values = values
        self.place = place
        own = values.get("model_type")
        self.model_type = own if isinstance(own, str) and own else model_type
        self._defaults = class_defaults().get(self.model_type, {})
        self._aliases: Mapping[str, str] = self._defaults.get("_aliases", {})
        self.known_type = bool(self._defaults)

    def get(self, *names: str) -> Any:
        """Value of the first name that the object gives, then that the class gives; None without one."""
        for name in names:
            found = self.values.get(name)
            if found is None and name in self._aliases:
                found = self.values.get(self._aliases[name])
            if found is not None:
                return found
        for name in names:
            found = self._defaults.get(name, self._defaults.get(self._aliases.get(name, "")))
            if found is not None:
                return found
        return None

    def says(self, *names: str) -> bool:
        """Whether the object itself gives any of these."""
        return any(self.values.get(name) is not None for name in names)

    def count(self, *names: str, default: int | None = None, least: int = 1, most: int = MOST) -> int:
        """A whole number, at least `least`.

        Raises:
            MultinodeError: MODEL_CONFIG, where it is absent without a default, or no such number.
        """
        found = self.get(*names)
        if found is None:
            if default is None:
                raise self.bad(names[0], "is missing", "The sizes cannot be computed without it.")
            return default
        return self.whole(found, self._given(names), least, most)

    def whole(self, found: object, name: str, least: int = 1, most: int = MOST) -> int:
        """The value of the field as a whole number within bounds.

        Raises:
            MultinodeError: MODEL_CONFIG.
        """
        if isinstance(found, float) and found.is_integer() and abs(found) <= most:
            found = int(found)
        if isinstance(found, bool) or not isinstance(found, int):
            raise self.bad(name, f"is {_short(found)}, which is not a whole number")
        if not least <= found <= most:
            raise self.bad(name, f"is {_short(found)}, which is not within {least} and {most}")
        return found

    def flag(self, *names: str, default: bool = False) -> bool:
        """A truth value; anything else counts as JSON's truth."""
        found = self.get(*names)
        return default if found is None else bool(found)

    def text(self, *names: str) -> str:
        """A string, empty without one."""
        found = self.get(*names)
        return found if isinstance(found, str) else ""

    def listed(self, *names: str) -> list[Any]:
        """A list, empty without one.

        Raises:
            MultinodeError: MODEL_CONFIG, where it is something else or longer than any model's.
        """
        found = self.get(*names)
        if found is None:
            return []
        if not isinstance(found, list) or len(found) > _MOST_LISTED:
            raise self.bad(self._given(names), f"is {_short(found)}, which is not a list of layers")
        return found

    def inner(self, name: str, model_type: str = "") -> "Fields | None":
        """The object under this name; None where there is none.

        Raises:
            MultinodeError: MODEL_CONFIG, where it is something else.
        """
        found = self.values.get(name)
        if found is None:
            return None
        if not isinstance(found, Mapping):
            raise self.bad(name, f"is {_short(found)}, which is not an object")
        return Fields(found, f"{self.place}: {name}", model_type)

    def bad(self, name: str, what: str, hint: str = "") -> MultinodeError:
        """The refusal of one field."""
        return MultinodeError(ExitCode.MODEL_CONFIG, f"{name} {what}.", where=self.place, hint=hint)

    def _given(self, names: tuple[str, ...]) -> str:
        """The name under which the object gives the value."""
        return next((name for name in names if self.values.get(name) is not None), names[0])


@functools.cache
def class_defaults() -> Mapping[str, Any]:
    """model_type -> field -> what transformers takes where a config.json leaves it out."""
    return dict(json.loads((Path(__file__).parent / "defaults.json").read_bytes()))


def _short(found: object) -> str:
    """The value as it is shown in a message."""
    text = repr(found)
    return text if len(text) <= 40 else f"{text[:40]}…"
