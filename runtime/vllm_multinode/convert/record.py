"""What became of each value of a source."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Status = Literal["carried", "changed", "not_carried", "refused"]
"""The same value; another value or form; nothing; why the whole source is rejected."""

Path = tuple[str | int, ...]

EMPTY: Final = "It is empty."
UNKNOWN: Final = "This field is unknown. Convert it by hand if you need it."
_Answer = tuple[Status, str, str]
_BARE_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Row:
    """One value of a source.

    Attributes:
        document: that it stands in, such as "Workspace llama" or a file's name.
        source_path: of the value, such as spec.template.containers[0].image.
        status: what became of it.
        target_path: of the field of the deployment spec; empty where there is none.
        why: one sentence; empty where the value was carried as it is.
    """

    document: str
    source_path: str
    status: Status
    target_path: str
    why: str


@dataclass
class Record:
    """One document of a source, and the answers for its values.

    Attributes:
        body: the document.
        label: how reports name it.
    """

    body: Mapping[str, Any]
    label: str
    _answers: dict[Path, _Answer] = field(default_factory=dict)
    _inner: dict[Path, Any] = field(default_factory=dict)
    _missing: dict[str, str] = field(default_factory=dict)

    def get(self, *path: str | int) -> Any:
        """The value at a path, within a text that `open_text` has read as well; None where there is none."""
        value: Any = self.body
        for depth, step in enumerate(path):
            value = self._inner.get(path[:depth], value)
            has_step = step in value if isinstance(value, Mapping) else _is_index(value, step)
            if not has_step:
                return None
            value = value[step]
        return value

    def list(self, *path: str | int) -> "list[Any]":
        """The list at a path; an empty one where there is none."""
        value = self.get(*path)
        return value if isinstance(value, list) else []

    def entries(self, *path: str | int) -> Mapping[str, Any]:
        """The mapping at a path; an empty one where there is none."""
        value = self.get(*path)
        return value if isinstance(value, Mapping) else {}

    def count(self, *path: str | int) -> int | None:
        """The whole number above zero at a path; None for anything else."""
        value = self.get(*path)
        is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
        return value if is_count else None

    def carried(self, path: Path, target: str, why: str = "") -> None:
        """The value stands in the spec as it is."""
        self._answers[path] = ("carried", target, why)

    def changed(self, path: Path, target: str, why: str) -> None:
        """Its meaning stands in the spec, in another form."""
        self._answers[path] = ("changed", target, why)

    def not_carried(self, path: Path, why: str) -> None:
        """Nothing in the spec stands for it."""
        self._answers[path] = ("not_carried", "", why)

    def answer(self, path: Path, status: Status, target: str = "", why: str = "") -> None:
        """What became of the value, by its status."""
        self._answers[path] = (status, target, why)

    def drop(self, base: Path, reasons: Mapping[str, str]) -> None:
        """Nothing in the spec stands for these fields below `base`, where they are: field -> why."""
        for name, why in reasons.items():
            if self.get(*base, name) is not None:
                self.not_carried((*base, name), why)

    def replace(self, base: Path, reasons: Mapping[str, str]) -> None:
        """Something else does what these fields below `base` did, where they are: field -> what."""
        for name, why in reasons.items():
            if self.get(*base, name) is not None:
                self.changed((*base, name), "", why)

    def refused(self, path: Path, why: str) -> None:
        """It is why the whole source is rejected."""
        self._answers[path] = ("refused", "", why)

    def missing(self, path: Path | str, why: str) -> None:
        """Something else has a value there, or such an object, and the source has none."""
        self._missing[path if isinstance(path, str) else written(path)] = why

    def open_text(self, path: Path, content: Any) -> None:
        """Take a text as the YAML or JSON that it holds: each value in it gets a row of its own."""
        self._inner[path] = content

    def is_answered(self, path: Path) -> bool:
        """Whether there is an answer for a path, or for one above it."""
        return self._answer(path) is not None

    @property
    def is_refused(self) -> bool:
        """Whether the source is rejected because of a value in this document."""
        return any(status == "refused" for status, _, _ in self._answers.values())

    def refusals(self) -> Iterator[tuple[str, str]]:
        """Path and reason of each refusal; a path stands for all that is below it."""
        for path, (status, _, why) in self._answers.items():
            if status == "refused":
                yield written(path), why

    def has_version(self, *known: str) -> bool:
        """Whether the document's apiVersion is one of these; it is rejected otherwise."""
        version = str(self.body.get("apiVersion", ""))
        if version in known:
            return True
        self.refused(("apiVersion",), f"Known are {' and '.join(known)}.")
        return False

    def rows(self) -> Iterator[Row]:
        """A row for every value: each leaf once, and each text that was read as a document."""
        for path in _leaves(self.body, (), self._inner):
            says_nothing = self.get(*path) in (None, "", {}, [])
            unanswered: _Answer = ("changed", "", EMPTY) if says_nothing else ("not_carried", "", UNKNOWN)
            status, target, why = self._answer(path) or unanswered
            yield Row(self.label, written(path), status, target, why)
        for missing, why in self._missing.items():
            yield Row(self.label, missing, "not_carried", "", why)

    def _answer(self, path: Path) -> _Answer | None:
        for length in range(len(path), -1, -1):
            if path[:length] in self._answers:
                return self._answers[path[:length]]
        return None


def _is_index(value: Any, step: str | int) -> bool:
    return isinstance(value, list) and isinstance(step, int) and step < len(value)


def _leaves(value: Any, path: Path, inner: Mapping[Path, Any]) -> Iterator[Path]:
    if path in inner:
        yield path
        content = inner[path]
        if isinstance(content, Mapping | list) and content:
            yield from _leaves_below(content, path, inner)
    elif isinstance(value, Mapping | list) and value:
        yield from _leaves_below(value, path, inner)
    elif path:
        yield path


def _leaves_below(
    value: "Mapping[str, Any] | list[Any]", path: Path, inner: Mapping[Path, Any]
) -> Iterator[Path]:
    steps = value.items() if isinstance(value, Mapping) else enumerate(value)
    for step, child in steps:
        yield from _leaves(child, (*path, step), inner)


def written(path: Path) -> str:
    """A path as reports write it: a.b[0], and a['b.c'] for a key with a dot or a slash."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _BARE_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step, ensure_ascii=False)}]"
    return text
