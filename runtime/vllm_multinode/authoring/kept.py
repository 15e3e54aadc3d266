"""The deployment spec that stands beside the files rendered from it, so that they can be converted again.

A spec says more than its manifests show: a size that only a claim follows from, a figure that equals the
default. Kept beside them, with a digest of each object, it tells what somebody has changed by hand since.
"""

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vllm_multinode.authoring.render import Rendered, Target
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.authoring.spec.file import loads
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.k8s.emit import to_yaml
from vllm_multinode.platforms.releases import Release

FILE: Final = "deployment.spec"
"""Not *.yaml: neither `kubectl apply -f` nor a folder's readers take it for a manifest."""
_LARGEST: Final = 1 << 20
_DIGITS: Final = 16
_FACT: Final = re.compile(r"# (platform|target|version|spec|object): (.+)")
_GENERATED: Final = re.compile(r"-[0-9a-f]{6,10}$")
"""The digest at the end of the name of a ConfigMap or Job that cannot be changed."""

Key = tuple[str, str]
"""Kind and name of an object, the name without its digest."""


@dataclass(frozen=True)
class Kept:
    """A deployment spec, and what was rendered from it.

    Attributes:
        spec: as it was rendered.
        file: that it was read from.
        platform: name of the release.
        target: that it was rendered for.
        version: of this package that rendered it.
        digests: of the objects that were rendered.
    """

    spec: DeploymentSpec
    file: str
    platform: str
    target: Target
    version: str
    digests: Mapping[Key, str]


def with_spec(made: Rendered, spec: DeploymentSpec, release: Release, target: Target) -> dict[str, str]:
    """The text of every rendered file by its name, and the spec beside them."""
    texts = {name: made.text(name) for name in made.files}
    content = to_yaml([fields_of(spec)])
    facts = [
        f"# platform: {release.name}",
        f"# target: {target}",
        f"# version: {importlib.metadata.version('vllm-multinode')}",
        f"# spec: {_digest(content)}",
        *(f"# object: {' '.join(key_of(body))} {digest_of(body)}" for body in made.documents),
    ]
    head = "# What these files were rendered from; `multinode convert` reads it.\n"
    return {FILE: head + "".join(f"{fact}\n" for fact in facts) + content, **texts}


def read(folder: Path) -> Kept | None:
    """The spec beside rendered files; None where there is none, or where it was changed since.

    A spec that was changed after rendering is not what the files stand for.
    """
    path = folder / FILE
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    facts: dict[str, str] = {}
    digests: dict[Key, str] = {}
    for match in _FACT.finditer(text):
        if match[1] == "object":
            kind, _, rest = match[2].partition(" ")
            name, _, digest = rest.rpartition(" ")
            digests[kind, name] = digest
        else:
            facts[match[1]] = match[2]
    content = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    if _digest(content) != facts.get("spec") or facts.get("target") not in ("kserve", "lws"):
        return None
    try:
        spec = loads(content, str(path))
    except MultinodeError:
        # Of another version of this package, which knew other fields.
        return None
    target: Target = "lws" if facts["target"] == "lws" else "kserve"
    return Kept(spec, str(path), facts.get("platform", ""), target, facts.get("version", ""), digests)


def fields_of(spec: DeploymentSpec) -> dict[str, Any]:
    """A spec's fields as its author wrote them, without those that were left out."""
    fields: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return fields


def key_of(body: Mapping[str, Any]) -> Key:
    """What an object is known by, across renderings."""
    name = str((body.get("metadata") or {}).get("name", ""))
    return str(body.get("kind", "")), _GENERATED.sub("", name)


def digest_of(body: Mapping[str, Any]) -> str:
    """A digest of an object, however its file is written."""
    return _digest(json.dumps(body, sort_keys=True, default=str))


def by_key(documents: Iterable[Mapping[str, Any]]) -> dict[Key, Mapping[str, Any]]:
    """Objects by what they are known by."""
    return {key_of(body): body for body in documents}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
