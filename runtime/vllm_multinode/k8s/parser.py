"""YAML as Kubernetes reads it, every value with its place in the text.

Kubernetes turns YAML into JSON with a YAML 1.1 reader of its own (`sigs.k8s.io/yaml`), which differs from
PyYAML's: `yes` and `on` are booleans in both, `1:30` and dates are text only there, `0777` is octal, `08` a
float, and a key is text whatever it looks like. A manifest is read here as it will be read there; only what
Kubernetes resolves silently, a duplicate key, is rejected.

The text is read event by event, so that depth, aliases and size are bounded before anything is built.
"""

import base64
import binascii
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import yaml

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.scalars import Scalar, resolve

LARGEST_FILE: Final = 16 * 1024**2
"""Bytes; the API server takes requests of 3 MiB."""
MOST_VALUES: Final = 250_000
"""Of one file, aliases counted as often as they are used."""
DEEPEST: Final = 100
"""Levels of nesting; a Pod's template has about twenty."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_SURROGATES: Final = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


@dataclass(slots=True, eq=False)
class Node:
    """One value and where it stands.

    Attributes:
        line: of its first character, from 1.
        column: of its first character, from 0.
        end_line: of the character behind its last one; a block's end is the start of what follows it.
        end_column: of that character.
        value: a scalar, the items of a list, or the entries of a mapping: for each key the node of the key
            and the node of its value.
        plain: a scalar without quotes.
        flow: a list or mapping in brackets.
        size: values beneath it, itself included.
        shared: an alias stands for it somewhere else.
    """

    line: int
    column: int
    end_line: int = 0
    end_column: int = 0
    value: "Scalar | list[Node] | dict[str, tuple[Node, Node]]" = None
    plain: bool = False
    flow: bool = False
    size: int = 1
    shared: bool = False

    def data(self) -> Any:
        """The value as plain Python data, every part a copy of its own."""
        if isinstance(self.value, dict):
            return {key: value.data() for key, (_, value) in self.value.items()}
        if isinstance(self.value, list):
            return [item.data() for item in self.value]
        return self.value

    def find(self, path: Sequence[str | int]) -> "tuple[Node, int]":
        """The node at `path` or its nearest parent, and the line to name: that of its key, if any.

        Inside an alias or a merge that is the line of the nearest field that is written out.
        """
        node, line, inside_alias = self, self.line, False
        for step in path:
            if isinstance(node.value, dict) and step in node.value:
                key, node = node.value[str(step)]
                place = key.line
            elif isinstance(node.value, list) and isinstance(step, int) and 0 <= step < len(node.value):
                node = node.value[step]
                place = node.line
            else:
                break
            # What stands for an anchor further up is written there; the line to name is the alias's own.
            inside_alias = inside_alias or place < line
            line = line if inside_alias else place
        return node, line


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    node: Node
    anchor: str | None
    items: list[Node] = field(default_factory=list)


def read_text(stream: BinaryIO, where: str) -> str:
    """The text of a manifest, as long as a manifest may be: the stream may have no end.

    Raises:
        MultinodeError: MANIFEST, for what is too large or not UTF-8.
        OSError: it cannot be read.
    """
    return decode(stream.read(LARGEST_FILE + 1), where)


def decode(raw: bytes, where: str) -> str:
    """The text of a manifest that has been read.

    Raises:
        MultinodeError: MANIFEST, for what is too large or not UTF-8.
    """
    if len(raw) > LARGEST_FILE:
        what = f"is larger than {LARGEST_FILE // 1024**2} MiB, and no manifest is."
        raise refusal(what, where, 0, "Name the right file.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{raw[error.start]:02x} is not UTF-8 text."
        raise refusal(what, where, line, "Save the file as UTF-8.") from error


def refusal(what: str, where: str, line: int, hint: str = "") -> MultinodeError:
    """The MANIFEST error of one line of a file; line 0 names the file alone."""
    place = f"{where}:{line}" if line else where
    return MultinodeError(ExitCode.MANIFEST, what, where=place, hint=hint)


def parse(text: str, where: str) -> list[Node]:
    """The documents of a YAML or JSON text, empty ones left out.

    Args:
        text: as `decode` returns it.
        where: the file, for messages.

    Raises:
        MultinodeError: MANIFEST, with the line.
    """
    if text.lstrip().startswith("{"):
        text = _SURROGATES.sub(_joined, text)
    try:
        return _Builder(where).build(yaml.parse(text, Loader=_LOADER))
    except yaml.reader.ReaderError as error:
        line = _line_of(text, error.position)
        what = f"the character U+{_code(error.character):04X} is not allowed in YAML."
        raise refusal(what, where, line, "Remove it.") from error
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, text, where) from error


def _syntax(error: yaml.MarkedYAMLError, text: str, where: str) -> MultinodeError:
    mark = error.problem_mark or error.context_mark
    what = " ".join(filter(None, (error.context, error.problem)))
    hint = ""
    line = text.split("\n", mark.line + 1)[mark.line] if mark and text.count("\n") >= mark.line else ""
    if mark and line[mark.column : mark.column + 1] == "\t":
        hint = "Indent with spaces, not with tabs."
    elif "end" in what and "stream" in what:
        hint = "The file ends too early: close what is open."
    return refusal(f"is not YAML: {what}.", where, mark.line + 1 if mark else 0, hint)


def _joined(pair: re.Match[str]) -> str:
    """JSON writes a character beyond 16 bits as two escapes, YAML as one."""
    high, low = int(pair[1], 16), int(pair[2], 16)
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


def _code(character: int | str | bytes) -> int:
    """The pure reader names the character, libyaml's its number."""
    return character if isinstance(character, int) else ord(character[:1])


def _line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def shorten(text: str, length: int = 60) -> str:
    """A user's text, short enough for a line of a message."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def _start(event: yaml.Event) -> tuple[int, int]:
    """Line, from 1, and column, from 0, of an event's first character."""
    mark = event.start_mark
    return (mark.line + 1, mark.column) if mark is not None else (0, 0)


def _end(event: yaml.Event) -> tuple[int, int]:
    """Line, from 1, and column, from 0, of the character behind an event."""
    mark = event.end_mark
    return (mark.line + 1, mark.column) if mark is not None else (0, 0)


class _Builder:
    """Builds nodes from the parser's events without recursion."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._values = 0
        self._root: Node | None = None

    def build(self, events: Iterator[yaml.Event]) -> list[Node]:
        documents = []
        for event in events:
            if isinstance(event, yaml.ScalarEvent):
                self._add(_scalar(event, self._where), event.anchor)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._begin(event)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                self._finish(event)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.DocumentEndEvent):
                if self._root is not None and self._root.value is not None:
                    documents.append(self._root)
                self._root = None
                self._anchors.clear()
        return documents

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        line, column = _start(event)
        if len(self._open) >= DEEPEST:
            raise refusal(f"is nested more than {DEEPEST} levels deep.", self._where, line)
        node = Node(line, column, flow=bool(event.flow_style))
        if isinstance(event, yaml.MappingStartEvent):
            node.value = {}
        self._open.append(_Open(node, event.anchor))

    def _finish(self, event: yaml.Event) -> None:
        done = self._open.pop()
        node = done.node
        node.end_line, node.end_column = _end(event)
        node.size += sum(item.size for item in done.items)
        node.value = done.items if node.value is None else self._mapping(done.items)
        self._add(node, done.anchor, counted=1)

    def _alias(self, event: yaml.AliasEvent) -> None:
        anchor = event.anchor or ""
        node = self._anchors.get(anchor)
        if node is None:
            what = f"the alias *{shorten(anchor)} names no value before it."
            raise refusal(what, self._where, _start(event)[0])
        node.shared = True
        self._add(node, None, counted=node.size)

    def _add(self, node: Node, anchor: str | None, counted: int = 1) -> None:
        self._values += counted
        if self._values > MOST_VALUES:
            what = f"holds more than {MOST_VALUES:,} values, aliases counted as often as they are used."
            raise refusal(what, self._where, node.line)
        if anchor is not None:
            self._anchors[anchor] = node
        if self._open:
            self._open[-1].items.append(node)
        else:
            self._root = node

    def _mapping(self, items: list[Node]) -> dict[str, tuple[Node, Node]]:
        entries: dict[str, tuple[Node, Node]] = {}
        merged: list[Node] = []
        for key, value in zip(items[::2], items[1::2], strict=True):
            if key.plain and key.value == "<<":
                merged += value.value if isinstance(value.value, list) else [value]
                continue
            name = self._key(key)
            if name in entries:
                what = f"the key '{shorten(name)}' appears twice: in line {entries[name][0].line} and here."
                raise refusal(what, self._where, key.line, "Keep one; Kubernetes would take the last.")
            entries[name] = (key, value)
        for node in merged:
            if not isinstance(node.value, dict):
                raise refusal("'<<' merges mappings only.", self._where, node.line)
            for _, value in node.value.values():
                value.shared = True
            entries = {**node.value, **entries}
        return entries

    def _key(self, key: Node) -> str:
        value = key.value
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, float)):
            return str(value)
        raise refusal("a key must be text.", self._where, key.line)


def _scalar(event: yaml.ScalarEvent, where: str) -> Node:
    line, column = _start(event)
    node = Node(line, column, *_end(event), plain=not event.style)
    tag = (event.tag or "").removeprefix(_TAG)
    if tag == "binary":
        node.value = _binary(event.value, where, line)
    elif (not tag and event.implicit[0]) or tag in ("bool", "float", "int", "null"):
        node.value = resolve(event.value)
    else:
        node.value = event.value
    if isinstance(node.value, float) and not math.isfinite(node.value):
        raise refusal(f"{event.value} is a number that JSON does not have.", where, line, "Quote it.")
    return node


def _binary(text: str, where: str, line: int) -> str:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise refusal("!!binary is not text in base64.", where, line) from error
