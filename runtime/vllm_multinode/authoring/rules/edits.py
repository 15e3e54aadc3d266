"""Small changes of a manifest's text that leave its comments and layout as they are."""

import json
import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from vllm_multinode.contract.finding import Edit, Path
from vllm_multinode.k8s.parser import Node

Value = str | int | bool
_BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_BARE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


@dataclass(frozen=True)
class Splice:
    """Characters of a text that are replaced."""

    start: int
    end: int
    text: str


class Text:
    """A manifest's text, addressed by lines and columns as its nodes are."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0, *(found.end() for found in _BREAK.finditer(text))]

    def offset(self, line: int, column: int) -> int:
        """Characters before a line (from 1) and column (from 0)."""
        return self._starts[line - 1] + column

    def line_end(self, offset: int) -> int:
        """Where the line that holds a character ends, its break left out."""
        found = _BREAK.search(self.text, offset)
        return found.start() if found else len(self.text)

    def line_of(self, offset: int) -> int:
        """The line that holds a character, from 1."""
        return bisect_right(self._starts, offset)

    def line_break(self) -> str:
        """The break that the text uses."""
        found = _BREAK.search(self.text)
        return found[0] if found else "\n"


def splice(text: Text, root: Node, edit: Edit) -> Splice | None:
    """The change of text that makes an edit; None where it cannot be made without touching anything else."""
    node, key = root, root
    for depth, step in enumerate(edit.path):
        if node.shared:
            return None
        if isinstance(step, int):
            if not isinstance(node.value, list) or step >= len(node.value):
                return None
            node = node.value[step]
            continue
        if not isinstance(node.value, dict):
            return _filled(text, node, edit, depth) if node.value is None and node.plain else None
        if step not in node.value:
            return None if edit.rename else _added(text, node, edit.path[depth:], edit.value)
        key, node = node.value[step]
    return None if node.shared else _changed(text, key, node, edit)


def _changed(text: Text, key: Node, node: Node, edit: Edit) -> Splice | None:
    """The change of a key or scalar that is there."""
    if edit.rename:
        return _replaced(text, key, _scalar(edit.rename, quoted=not key.plain))
    if isinstance(node.value, (dict, list)):
        return None
    if edit.quote:
        return _replaced(text, node, json.dumps(_source(text, node))) if node.plain else None
    if edit.value is None:
        return None
    return _replaced(text, node, _scalar(edit.value, quoted=not node.plain))


def _source(text: Text, node: Node) -> str:
    """The characters of a scalar as they stand."""
    start, end = text.offset(node.line, node.column), text.offset(node.end_line, node.end_column)
    return text.text[start:end]


def _replaced(text: Text, node: Node, new: str) -> Splice:
    start, end = text.offset(node.line, node.column), text.offset(node.end_line, node.end_column)
    return Splice(start, end, new)


def _added(text: Text, node: Node, path: Path, value: Value | None) -> Splice | None:
    entries = node.value if isinstance(node.value, dict) else {}
    if value is None or any(isinstance(step, int) for step in path):
        return None
    if node.flow:
        quoted = any(not key.plain for key, _ in entries.values())
        start = text.offset(node.line, node.column) + 1
        return Splice(start, start, _flow(path, value, quoted=quoted) + (", " if entries else ""))
    if not entries:
        return None
    first = next(iter(entries.values()))[0]
    last_key, last = list(entries.values())[-1]
    indent = " " * first.column
    lines = _block(path, value, indent)
    if isinstance(last.value, (dict, list)) or last.line != last.end_line or last_key.line != last.line:
        # Before the first key: where a nested value ends, comments may stand that belong to what follows.
        start = text.offset(first.line, first.column)
        return Splice(start, start, text.line_break().join([*lines, ""])[len(indent) :] + indent)
    end = text.line_end(text.offset(last.end_line, last.end_column))
    return Splice(end, end, "".join(f"{text.line_break()}{line}" for line in lines))


def _filled(text: Text, node: Node, edit: Edit, depth: int) -> Splice | None:
    """A key without a value gets one, in brackets so that no indentation has to be guessed."""
    if edit.value is None or node.line != node.end_line or node.column != node.end_column:
        return None
    start = text.offset(node.line, node.column)
    gap = "" if text.text[start - 1 : start].isspace() else " "
    flow = "{" + _flow(edit.path[depth:], edit.value, quoted=False) + "}"
    return Splice(start, start, gap + flow)


def _block(path: Path, value: Value, indent: str) -> list[str]:
    lines = [f"{indent}{'  ' * depth}{_scalar(str(step), quoted=False)}:" for depth, step in enumerate(path)]
    lines[-1] += f" {_scalar(value, quoted=False)}"
    return lines


def _flow(path: Path, value: Value, *, quoted: bool) -> str:
    head, *rest = path
    inner = "{" + _flow(tuple(rest), value, quoted=quoted) + "}" if rest else _scalar(value, quoted=quoted)
    return f"{_scalar(str(head), quoted=quoted)}: {inner}"


def _scalar(value: Value, *, quoted: bool) -> str:
    """A scalar as YAML and, with `quoted`, as JSON: double quotes only where they are needed."""
    if isinstance(value, (bool, int)):
        return json.dumps(value)
    if not quoted and _BARE.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
