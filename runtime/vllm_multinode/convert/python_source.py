"""Reads a Python file of Ray Serve by its syntax tree; nothing of it is ever run."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from vllm_multinode.contract.bounded import open_file
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.convert.ray_serve import PYTHON
from vllm_multinode.k8s.documents import Document

SUFFIX: Final = ".py"
_ENGINES: Final = frozenset(
    {"LLM", "AsyncLLMEngine", "AsyncEngineArgs", "EngineArgs", "LLMEngine", "LLMConfig"}
)
_MOST_BYTES: Final = 1 << 20
_WANTED: Final = "model, tensor_parallel_size and pipeline_parallel_size"


class NotLiteralError(Exception):
    """A value that only running the file would tell."""


def read_python(path: Path, name: str) -> list[Document]:
    """What a file says of its engines, one document each.

    Args:
        path: of the file.
        name: that messages call it.

    Returns:
        Documents of the kind PythonFile: `name`, `engine` (keyword arguments of the engine), `deployment`
        (those of @serve.deployment) and, where values are no literals, `problem`.

    Raises:
        MultinodeError: MANIFEST where it cannot be read or is not Python.
    """
    try:
        with open_file(path) as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise MultinodeError(
                ExitCode.MANIFEST, "is too large for a Python file of Ray Serve.", where=name
            )
        tree = ast.parse(text)
    except OSError as error:
        raise MultinodeError(
            ExitCode.MANIFEST, f"cannot be read: {error.strerror or error}.", where=name
        ) from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f"{name}:{line}" if line else name
        raise MultinodeError(
            ExitCode.MANIFEST, f"is not Python: {getattr(error, 'msg', error)}.", where=where
        ) from error
    constants = dict(_constants(tree))
    found = [*_engines(tree, constants)]
    if not found:
        problem = f"It starts no engine of vLLM. Write {_WANTED} into a deployment spec."
        found = [{"kind": PYTHON, "name": path.stem, "problem": problem}]
    return [Document(name, index, body) for index, body in enumerate(found)]


def _engines(tree: ast.Module, constants: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    owners = [
        node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    taken: set[int] = set()
    for owner in owners:
        for call in _calls(owner):
            taken.add(id(call))
            yield _described(call, owner.name, _deployment(owner, constants), constants)
    for call in _calls(tree):
        if id(call) not in taken:
            yield _described(call, "model", {}, constants)


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _last_name(node.func) in _ENGINES and (node.args or node.keywords):
            yield node


def _described(
    call: ast.Call, name: str, deployment: Mapping[str, Any], constants: Mapping[str, Any]
) -> dict[str, Any]:
    engine: dict[str, Any] = {}
    unknown: list[str] = []
    for position, argument in zip(("model",), call.args, strict=False):
        _take(engine, position, argument, constants, unknown)
    for keyword in call.keywords:
        if keyword.arg is None:
            unknown.append("**")
        else:
            _take(engine, keyword.arg, keyword.value, constants, unknown)
    part = "llm_config" if _last_name(call.func) == "LLMConfig" else "engine"
    body: dict[str, Any] = {"kind": PYTHON, "name": name, part: engine, "deployment": dict(deployment)}
    if unknown:
        body["problem"] = (
            f"Line {call.lineno}: {', '.join(unknown)}: no literal, and the file is not run. Write {_WANTED} "
            "into a deployment spec."
        )
    return body


def _take(
    engine: dict[str, Any], name: str, value: ast.expr, constants: Mapping[str, Any], unknown: list[str]
) -> None:
    try:
        engine[name] = _literal(value, constants)
    except NotLiteralError:
        unknown.append(name)


def _deployment(
    owner: "ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef", constants: Mapping[str, Any]
) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for decorator in owner.decorator_list:
        if isinstance(decorator, ast.Call) and _last_name(decorator.func) == "deployment":
            for keyword in decorator.keywords:
                if keyword.arg is not None:
                    try:
                        options[keyword.arg] = _literal(keyword.value, constants)
                    except NotLiteralError:
                        continue
    return options


def _constants(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Names at the top of the file that stand for a literal."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                yield node.targets[0].id, _literal(node.value, {})
            except NotLiteralError:
                continue


def _literal(node: ast.expr, constants: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Name) and node.id in constants:
        return constants[node.id]
    if isinstance(node, ast.Dict):
        if any(not isinstance(key, ast.Constant) or not isinstance(key.value, str) for key in node.keys):
            raise NotLiteralError
        return {
            str(key.value): _literal(value, constants)
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant)
        }
    if isinstance(node, ast.Call) and _last_name(node.func) == "dict" and not node.args:
        return {str(one.arg): _literal(one.value, constants) for one in node.keywords if one.arg}
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item, constants) for item in node.elts]
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise NotLiteralError from None
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    raise NotLiteralError


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
