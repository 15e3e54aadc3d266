"""Leaves as a user writes them, and objects as Kubernetes compares them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from manifests.folders import COMPONENTS, MANIFESTS, Object

BASE = MANIFESTS / "service/mp"


def leaf(folder: Path, *names: str, base: Path | None = BASE, **more: Any) -> Path:
    """A leaf of the given components, as a user writes it."""
    folder.mkdir(parents=True)
    up = "/".join([".."] * (len(folder.resolve().parts) - 1))
    body = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{up}{base}"] if base else [],
        "components": [f"{up}{COMPONENTS / one}" for one in names],
        **more,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(body))
    return folder


def as_kubernetes_reads(value: Any) -> Any:
    """Lists that Kubernetes merges by a key have no order."""
    if isinstance(value, dict):
        return {key: as_kubernetes_reads(one) for key, one in value.items()}
    if isinstance(value, list):
        plain = [as_kubernetes_reads(one) for one in value]
        keys = ("name", "mountPath", "key", "containerPort")
        key = next((key for key in keys if all(isinstance(one, dict) and key in one for one in plain)), None)
        return sorted(plain, key=lambda one: str(one[key])) if key else plain
    return value


def sorted_objects(objects: Iterable[Object]) -> list[Any]:
    plain = (as_kubernetes_reads(one) for one in objects)
    return sorted(plain, key=lambda one: (one["kind"], one["metadata"]["name"]))
