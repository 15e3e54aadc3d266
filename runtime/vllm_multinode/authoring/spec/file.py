"""Reads a deployment spec from YAML or JSON; what is wrong is named by its field and its line."""

import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from vllm_multinode.authoring.foreign import DATA_PARALLEL
from vllm_multinode.authoring.spec.checks import UNKNOWN_SIZE
from vllm_multinode.authoring.spec.deployment import DeploymentSpec
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.documents import Document
from vllm_multinode.k8s.parser import Node, parse, read_text
from vllm_multinode.k8s.pipes import open_file

STDIN: Final = "-"
_MOST_NAMED = 3
_OF_LITERAL: Final = "literal_error"
"""Pydantic's kind of what is not one of some values."""
_ELSEWHERE: Final = {
    "args": "arguments",
    "engineArgs": "arguments",
    "gpus": "accelerator.perNode",
    "gpusPerNode": "accelerator.perNode",
    "gpuType": "accelerator.type",
    "maxModelLen": "context",
    "nodes": "parallelism.nodes",
    "pipelineParallel": "parallelism.pipeline",
    "pipelineParallelSize": "parallelism.pipeline",
    "pp": "parallelism.pipeline",
    "shm": "sharedMemory",
    "storageUri": "model.claim and model.path",
    "strategy": "deploymentStrategy",
    "tensorParallel": "parallelism.tensor",
    "tensorParallelSize": "parallelism.tensor",
    "tp": "parallelism.tensor",
}
"""What vLLM, KServe and charts call a field."""
_DATA_PARALLEL: Final = frozenset(
    {"data", "dataLocal", "dataParallel", "dataParallelSize", "dp", "expert", "expertParallel"}
)
"""Fields of LLMInferenceService's parallelism, and of charts, that one engine has no place for."""


Ask = Callable[[Mapping[str, Any], str], str | None]
"""Says the size of a model, a mapping as in a spec of the file that is named, where its source tells."""


def load(source: str | Path, ask: Ask | None = None) -> DeploymentSpec:
    """The deployment spec of a file, or of standard input ("-").

    Args:
        source: the file.
        ask: for the size of a model that neither the spec nor the catalogue tells.

    Raises:
        MultinodeError: MANIFEST where it cannot be read or is not YAML; SPEC for an unknown field or a value
            that cannot be, with the line and the field's path.
    """
    where = str(source)
    try:
        if where == STDIN:
            return loads(read_text(sys.stdin.buffer, where), where, ask)
        with open_file(Path(source)) as file:
            text = read_text(file, where)
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the name.
        what = f"cannot be read: {getattr(error, 'strerror', None) or error}."
        raise MultinodeError(ExitCode.MANIFEST, what, where=repr(where)[1:-1]) from error
    return loads(text, where, ask)


def loads(text: str, where: str = STDIN, ask: Ask | None = None) -> DeploymentSpec:
    """The deployment spec of a text in YAML or JSON.

    Args:
        text: one document.
        where: the file's name, for messages.
        ask: as `load`'s.

    Raises:
        MultinodeError: as `load`.
    """
    roots = parse(text, where)
    if not roots:
        raise _refusal(where, 0, "holds no deployment spec.", "Write at least name, model and parallelism.")
    if len(roots) > 1:
        what = f"contains {len(roots)} documents; a deployment spec is a single document."
        raise _refusal(where, roots[1].line, what, "Put each spec into its own file.")
    return _from_root(roots[0], where, ask)


def from_document(document: Document) -> DeploymentSpec:
    """The deployment spec of a document that has been read.

    Raises:
        MultinodeError: as `load`.
    """
    if document.root is None:
        raise _refusal(document.file, 0, "a kustomization cannot produce a deployment spec.")
    return _from_root(document.root, document.file)


def needs_size(document: Document) -> bool:
    """Whether the size of a spec's claim is the source's to say: neither the spec nor the catalogue does."""
    try:
        DeploymentSpec.model_validate(document.body)
    except ValidationError as error:
        return _lacks_size(error)
    return False


def _lacks_size(error: ValidationError) -> bool:
    """Whether nothing but the size is wrong: until the rest is right, no source is asked."""
    return [one["type"] for one in error.errors(include_url=False)] == [UNKNOWN_SIZE]


def _from_root(root: Node, where: str, ask: Ask | None = None) -> DeploymentSpec:
    if not isinstance(root.value, dict):
        raise _refusal(where, root.line, "is not a mapping of fields.", "Begin with name: and model:.")
    data = root.data()
    if {"apiVersion", "kind"} <= data.keys():
        what = f"is a {data['kind']} for Kubernetes, not a deployment spec."
        hint = "`multinode validate` and `preview` read manifests; `multinode schema` shows a spec's fields."
        raise _refusal(where, root.line, what, hint)
    try:
        return DeploymentSpec.model_validate(data)
    except ValidationError as error:
        size = ask(data["model"], where) if ask is not None and _lacks_size(error) else None
        if size is None:
            raise _first_of(error, root, where) from error
    return DeploymentSpec.model_validate({**data, "model": {**data["model"], "size": size}})


def _refusal(where: str, line: int, what: str, hint: str = "") -> MultinodeError:
    place = f"{where}:{line}" if line else where
    return MultinodeError(ExitCode.SPEC, what, where=place, hint=hint)


def _first_of(error: ValidationError, root: Node, where: str) -> MultinodeError:
    """The first fault in the order of the file, what is missing last, and which others there are."""
    texts: dict[tuple[str | int, ...], str] = {}
    missing = set()
    found = [(_in_file(one["loc"], root), one) for one in error.errors(include_url=False)]
    for path, one in found:
        if one["type"] == _OF_LITERAL and any(
            other[: len(path)] == path for other, another in found if another["type"] != _OF_LITERAL
        ):
            # The other form of a field that is wrong in this one.
            continue
        or_false = any(other == path and another["type"] == _OF_LITERAL for other, another in found)
        texts.setdefault(path, _message(one["type"], one["msg"], path, or_false=or_false))
        if one["type"] in ("missing", UNKNOWN_SIZE):
            missing.add(path)
    lines = {path: root.find(path)[1] for path in texts}
    first, *others = sorted(texts, key=lambda path: (path in missing, lines[path]))
    named = [f"{_dotted(path)} (line {lines[path]})" for path in others[:_MOST_NAMED]]
    if len(others) > _MOST_NAMED:
        named.append(f"{len(others) - _MOST_NAMED} more")
    also = f"Also wrong: {', '.join(named)}." if named else ""
    field = f"{_dotted(first)}: " if first else ""
    return _refusal(where, lines[first], f"{field}{texts[first]}", also)


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _in_file(loc: tuple[int | str, ...], root: Node) -> tuple[str | int, ...]:
    """A fault's path as the file has it: pydantic's names of union members left out, names as written."""
    path: list[str | int] = []
    node: Node | None = root
    model: type[BaseModel] | None = DeploymentSpec
    for index, step in enumerate(loc):
        written = _as_written(step, node, model)
        if written is None:
            # What is not a field is pydantic's name of a union's member.
            if index == len(loc) - 1 and _field(model, str(step)) is not None and model is not None:
                path.append(_alias(model, str(step)))
            continue
        path.append(written)
        field = _field(model, str(step))
        node = _child(node, written)
        model = _model_of(field) if field is not None else model if isinstance(step, int) else None
    return tuple(path)


def _as_written(step: int | str, node: Node | None, model: type[BaseModel] | None) -> str | int | None:
    """A step under the name that the file has for it; None where the file has nothing there."""
    if node is None:
        return None
    if isinstance(node.value, list):
        return step if isinstance(step, int) and step < len(node.value) else None
    if not isinstance(node.value, dict):
        return None
    names = [str(step)]
    if model is not None:
        names += [_alias(model, str(step)), *(n for n, f in model.model_fields.items() if f.alias == step)]
    return next((name for name in names if name in node.value), None)


def _child(node: Node | None, step: str | int) -> Node | None:
    if node is None:
        return None
    if isinstance(node.value, dict):
        return node.value[str(step)][1]
    return node.value[step] if isinstance(node.value, list) and isinstance(step, int) else None


def _field(model: type[BaseModel] | None, name: str) -> FieldInfo | None:
    if model is None:
        return None
    by_alias = (field for field in model.model_fields.values() if field.alias == name)
    return model.model_fields.get(name) or next(by_alias, None)


def _alias(model: type[BaseModel], name: str) -> str:
    field = model.model_fields.get(name)
    return field.alias if field is not None and field.alias else name


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    """The part that a field holds, alone, optional or in a list."""
    waiting: list[Any] = [field.annotation]
    while waiting:
        one = waiting.pop()
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
        waiting += get_args(one)
    return None


def _message(kind: str, text: str, path: Sequence[str | int], *, or_false: bool = False) -> str:
    if kind == "missing":
        return "is missing."
    if kind in ("model_type", "model_attributes_type") and (part := _part_at(path)) is not None:
        names = [field.alias or name for name, field in part.model_fields.items() if field.is_required()]
        wanted = " and ".join(names) or next(field.alias or name for name, field in part.model_fields.items())
        return f"should be a mapping, with {wanted} in it{', or false' if or_false else ''}."
    if kind == "string_type":
        return "should be a text; quote it."
    if kind == "extra_forbidden":
        return f"is not a field of a deployment spec.{_nearest(path)}"
    text = text.removeprefix("Value error, ").replace("Input should be", "should be")
    return f"{text.rstrip('.')}."


def _part_at(path: Sequence[str | int]) -> type[BaseModel] | None:
    """The part that a field holds; None where it holds none."""
    model: type[BaseModel] | None = DeploymentSpec
    for step in path:
        field = _field(model, str(step))
        model = _model_of(field) if field is not None else model if isinstance(step, int) else None
    return model


def _nearest(path: Sequence[str | int]) -> str:
    """A known field that is meant by the unknown one, or resembles it; siblings first."""
    wanted = str(path[-1])
    if wanted in _DATA_PARALLEL:
        return f" {DATA_PARALLEL[0].upper()}{DATA_PARALLEL[1:]}."
    everywhere = dict(_fields(DeploymentSpec, ()))
    if meant := _ELSEWHERE.get(to_camel(wanted)) or everywhere.get(to_camel(wanted)):
        return f" Did you mean {meant}?"
    model: type[BaseModel] | None = DeploymentSpec
    for step in path[:-1]:
        field = _field(model, str(step))
        if field is not None:
            model = _model_of(field)
    here = [_alias(model, name) for name in model.model_fields] if model is not None else []
    if close := difflib.get_close_matches(wanted, here, n=1, cutoff=0.7):
        return f" Did you mean {close[0]}?"
    if close := difflib.get_close_matches(wanted, everywhere, n=1, cutoff=0.75):
        return f" Did you mean {everywhere[close[0]]}?"
    return f" There are: {', '.join(here)}." if here and len(here) <= 12 else " See `multinode schema`."


def _fields(model: type[BaseModel], prefix: tuple[str, ...]) -> list[tuple[str, str]]:
    """Last name and full path of every field, the outermost last, so that they win in a dictionary."""
    found: list[tuple[str, str]] = []
    for name, field in model.model_fields.items():
        path = (*prefix, _alias(model, name))
        if (part := _model_of(field)) is not None and len(path) < 4:
            found += _fields(part, path)
        found.append((path[-1], ".".join(path)))
    return sorted(found, key=lambda pair: -pair[1].count("."))
