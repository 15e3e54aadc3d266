"""Every kustomization of manifests/ and overlays/, built once each as `kubectl apply -k` builds it."""

import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from vllm_multinode.k8s.kustomize import builder

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
OVERLAYS = ROOT / "overlays"
COMPONENTS = MANIFESTS / "components"

Object = dict[str, Any]


class BuildError(Exception):
    """What kustomize said."""


def kustomization(folder: Path) -> Object:
    """The folder's kustomization.yaml."""
    return load(folder / "kustomization.yaml")[0]


def load(path: Path) -> list[Object]:
    """The documents of one file."""
    return [one for one in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader) if one is not None]


def kustomizations() -> list[Path]:
    """Every folder that has one, components included."""
    found = {path.parent for top in (MANIFESTS, OVERLAYS) for path in top.rglob("kustomization.yaml")}
    return sorted(found)


def components() -> list[Path]:
    """The folders of manifests/components."""
    return [folder for folder in kustomizations() if folder.parent == COMPONENTS]


def bases() -> list[Path]:
    """Everything that can be built alone."""
    return [folder for folder in kustomizations() if folder not in components()]


def leaves() -> list[Path]:
    """The folders that a user applies: overlays/<name>."""
    return [folder for folder in kustomizations() if folder.parent == OVERLAYS]


def name(folder: Path) -> str:
    """How a test calls a folder."""
    return str(folder.relative_to(ROOT))


@functools.cache
def build(folder: Path) -> tuple[Object, ...]:
    """The objects of a folder; do not change them.

    Raises:
        BuildError: kustomize rejects it.
    """
    done = subprocess.run([*builder(), str(folder)], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise BuildError(done.stderr.strip())
    return tuple(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader))


def of_kind(objects: tuple[Object, ...] | list[Object], kind: str) -> list[Object]:
    """Those of one kind."""
    return [one for one in objects if one["kind"] == kind]


def walk(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value inside, with its path."""
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from walk(inner, (*path, key))


def containers(one: Object) -> list[Object]:
    """Every container of an object, an InferenceService's model included."""
    found = []
    for path, value in walk(one):
        if path and path[-1] in ("containers", "initContainers") and isinstance(value, list):
            found += value
        elif path and path[-1] == "model" and isinstance(value, dict):
            found.append(value)
    return found
