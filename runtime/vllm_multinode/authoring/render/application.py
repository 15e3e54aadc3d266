"""The launcher as a zip application, and the ConfigMap that brings it into a pod of a released vLLM image.

It holds what head, worker and `fetch` import. A digest of its content stands in its version, so that nodes
with other launchers form no group, and in its ConfigMap's name, so that a running pod keeps its launcher.
"""

import ast
import base64
import functools
import hashlib
import importlib.metadata
import io
import re
import tokenize
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import vllm_multinode

DISTRIBUTION: Final = "vllm-multinode"
FILE: Final = "multinode.pyz"
LIMIT: Final = 256 * 1024
"""Bytes that `kubectl apply` may write into its annotation with the last applied configuration."""

_PACKAGES: Final = ("checkpoint", "contract", "engines", "launcher", "plugin", "storage")
_FILES: Final = ("__init__.py", "cli/__init__.py", "cli/fetch.py", "cli/main.py", "cli/output.py")
_MAIN: Final = "cli/application.py"
_ELSEWHERE: Final = (
    "contract/labels.py",
    "storage/hub_model.py",
    "storage/listed_size.py",
    "storage/source_model.py",
)
"""Of those packages: what only a user's machine asks for."""
_UNUSED: Final = ("click", "rich")
"""Of what the package always needs: what is in no pod."""
_PLUGINS: Final = "vllm.platform_plugins"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_OF_TYPES: Final = ("collections.abc", "types", "typing")
_INDENTS: Final = re.compile(r"^(?:    )+", re.MULTILINE)
_WORD: Final = re.compile(r"[\w'\"]")
_F_STRINGS: Final = {"FSTRING_START": 1, "FSTRING_END": -1}
# The oldest time that a zip file can hold: the same content is the same file, whenever it is made.
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_DIGEST_LENGTH: Final = 10


def config_map_name() -> str:
    """The ConfigMap's name: another launcher is another ConfigMap."""
    return f"{DISTRIBUTION}-launcher-{digest()}"


def config_map(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The ConfigMap that holds the application.

    Args:
        metadata: its labels and, where it is known, its namespace.
    """
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_map_name(), **metadata},
        "immutable": True,
        "binaryData": {FILE: base64.b64encode(archive()).decode()},
    }


@functools.cache
def archive() -> bytes:
    """The zip application, which any Python 3.8 or newer starts: `python3 multinode.pyz head`."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, content in (_sources() | _metadata(version())).items():
            file.writestr(zipfile.ZipInfo(name, _TIME), content, zipfile.ZIP_DEFLATED, compresslevel=9)
    return target.getvalue()


def version() -> str:
    """This package's version, with the content's digest."""
    return f"{importlib.metadata.version(DISTRIBUTION)}+{digest()}"


@functools.cache
def digest() -> str:
    """Of what the application does; the same on every machine, whatever its zlib makes of it."""
    content = hashlib.sha256()
    for name, text in (_sources() | _metadata("")).items():
        content.update(f"{name}\0{len(text)}\0".encode() + text)
    return content.hexdigest()[:_DIGEST_LENGTH]


def members(application: bytes) -> dict[str, bytes]:
    """The files of an application, by name."""
    with zipfile.ZipFile(io.BytesIO(application)) as file:
        return {name: file.read(name) for name in file.namelist()}


@functools.cache
def _sources() -> dict[str, bytes]:
    root = Path(vllm_multinode.__file__).parent
    paths = [root / name for name in _FILES]
    paths += [path for package in _PACKAGES for path in (root / package).rglob("*.py")]
    elsewhere = {root / name for name in _ELSEWHERE}
    named = {
        f"{root.name}/{path.relative_to(root).as_posix()}": _shortened(path.read_text(encoding="utf-8"))
        for path in paths
        if path not in elsewhere
    }
    return {"__main__.py": _main(root), **dict(sorted(named.items()))}


def _shortened(source: str) -> bytes:
    """A module as short as it does the same, each line where it was: `kubectl apply` takes no more.

    Without comments, docstrings, the types of functions and what only they import, indented by one space, and
    without space beside operators.
    """
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    for line, start, end in sorted(_types(ast.parse(source), lines), reverse=True):
        lines[line] = lines[line][:start] + lines[line][end:]
    text = _without_docstrings(_without_comments_and_spaces(b"".join(lines).decode()))
    return _less_indented(_without_unused_types(text)).encode()


def _types(tree: ast.AST, lines: Sequence[bytes]) -> Iterator[tuple[int, int, int]]:
    """Line, first and last byte of types that stand on one line, but for those of classes' attributes.

    Nothing in the application asks for them when it runs.
    """
    attributes = {part for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for part in node.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            kind, line, start = node.annotation, node.lineno, node.col_offset + len(node.arg.encode())
        elif isinstance(node, ast.AnnAssign) and node.value is not None and node not in attributes:
            kind, line, start = node.annotation, node.target.end_lineno or 0, node.target.end_col_offset or 0
        elif isinstance(node, _FUNCTIONS) and node.returns is not None and not node.decorator_list:
            kind, line = node.returns, node.returns.lineno
            start = lines[line - 1].rfind(b" ->", 0, kind.col_offset)
        else:
            continue
        if start > 0 and line == kind.lineno == kind.end_lineno:
            yield line - 1, start, kind.end_col_offset or 0


def _without_comments_and_spaces(source: str) -> str:
    """Without comments, and without the space between tokens where one of them is no word."""
    lines = source.splitlines(keepends=True)
    left_out: list[tuple[int, int, int]] = []
    inside, before = 0, None
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start[0] - 1, token.start[1]
        if token.type == tokenize.COMMENT:
            left_out.append((row, len(lines[row][:column].rstrip()), token.end[1]))
            continue
        # Since Python 3.12 an f-string is several tokens, and was one before: it stays as it is.
        if before is not None and not inside and before.end[0] == token.start[0]:
            ends, begins = before.string[-1:], token.string[:1].strip()
            if ends and begins and not (_WORD.match(ends) and _WORD.match(begins)):
                left_out.append((row, before.end[1], column))
        inside += _F_STRINGS.get(tokenize.tok_name[token.type], 0)
        before = token
    for row, start, end in reversed(left_out):
        lines[row] = lines[row][:start] + lines[row][end:]
    return "".join(lines)


def _without_docstrings(source: str) -> str:
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if not is_text or not isinstance(statement.value.value, str):
                continue
            first, last = statement.lineno - 1, statement.end_lineno or statement.lineno
            # A body that is nothing else needs something in its place.
            lines[first:last] = ["\n"] * (last - first)
            if body == [statement]:
                lines[first] = " " * statement.col_offset + "...\n"
    return "".join(lines)


def _without_unused_types(source: str) -> str:
    """Without the imports that only types asked for; to import those does nothing else."""
    lines = source.splitlines(keepends=True)
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.ImportFrom) or not _may_go(statement.module or ""):
            continue
        first, last = statement.lineno - 1, statement.end_lineno or statement.lineno
        others = "".join([*lines[:first], *lines[last:]])
        # A name in a text may be a type as well.
        used = [name for name in statement.names if re.search(rf"\b{name.asname or name.name}\b", others)]
        if len(used) < len(statement.names):
            lines[first:last] = ["\n"] * (last - first)
        if used and len(used) < len(statement.names):
            lines[first] = f"{ast.unparse(ast.ImportFrom(statement.module, used, statement.level))}\n"
    return "".join(lines)


def _may_go(module: str) -> bool:
    """Whether to import from a module does nothing else, as no module of ours does anything when imported."""
    return module in _OF_TYPES or module.startswith(f"{vllm_multinode.__name__}.")


def _less_indented(source: str) -> str:
    """With one space where there were four; as it was where that would change what it does."""
    narrow = _INDENTS.sub(lambda match: " " * (len(match[0]) // 4), source)
    try:
        same = ast.dump(ast.parse(narrow)) == ast.dump(ast.parse(source))
    except SyntaxError:
        same = False
    return narrow if same else source


def _main(root: Path) -> bytes:
    return (
        _shortened((root / _MAIN).read_text(encoding="utf-8"))
        + b'\n\nif __name__ == "__main__":\n    main()\n'
    )


def _metadata(whole_version: str) -> dict[str, bytes]:
    """What importlib.metadata reads in it: version, requirements, and the plugin for vLLM on CPUs."""
    needs = sorted(_requirements())
    lines = ["Metadata-Version: 2.1", f"Name: {DISTRIBUTION}", f"Version: {whole_version}"]
    text = "\n".join([*lines, *(f"Requires-Dist: {need}" for need in needs)]) + "\n"
    plugins = [
        f"{point.name} = {point.value}"
        for point in importlib.metadata.distribution(DISTRIBUTION).entry_points
        if point.group == _PLUGINS
    ]
    folder = f"{DISTRIBUTION.replace('-', '_')}-{importlib.metadata.version(DISTRIBUTION)}.dist-info"
    return {
        f"{folder}/METADATA": text.encode(),
        f"{folder}/entry_points.txt": "\n".join([f"[{_PLUGINS}]", *plugins, ""]).encode(),
    }


def _requirements() -> set[str]:
    """What head, worker, live and `fetch` need, as the package's own metadata says it."""
    found = set()
    for line in importlib.metadata.requires(DISTRIBUTION) or []:
        need, _, marker = (part.strip() for part in line.partition(";"))
        name = _NAME.match(need)
        if "extra" not in marker and name is not None and name[0] not in _UNUSED:
            found.add(need)
    return found
