"""Every kustomization is found and built; every failure is told, not the first alone."""

import re
from pathlib import Path

import pytest

from manifests.folders import bases, build, components, kustomization, kustomizations, leaves, name

DEPRECATED = {"bases", "commonLabels", "patchesStrategicMerge", "patchesJson6902", "imageTags", "vars"}


@pytest.mark.parametrize("folder", bases(), ids=name)
def test_it_builds_alone(folder: Path) -> None:
    objects = build(folder)
    assert objects
    keys = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("folder", components(), ids=name)
def test_a_folder_of_components_is_a_component(folder: Path) -> None:
    assert kustomization(folder)["kind"] == "Component"
    assert (folder / "kustomization.yaml").read_text().startswith("# "), "a component says what it is for"


@pytest.mark.parametrize("folder", kustomizations(), ids=name)
def test_nothing_deprecated_nothing_switched_on_by_uncommenting(folder: Path) -> None:
    assert not DEPRECATED & set(kustomization(folder))
    text = (folder / "kustomization.yaml").read_text()
    assert not re.search(r"^\s*#\s*- (\.\./|path:|[a-z-]+\.yaml)", text, re.MULTILINE)


@pytest.mark.parametrize("folder", kustomizations(), ids=name)
def test_it_reaches_folders_outside_and_files_inside_alone(folder: Path) -> None:
    """What kustomize's default load restrictor takes, so that `apply -k` works as it is."""
    found = kustomization(folder)
    files = [one["path"] for one in found.get("patches", []) if "path" in one] + found.get(
        "configurations", []
    )
    assert not [path for path in files if path.startswith("..")]
    for entry in [*found.get("resources", []), *found.get("components", [])]:
        assert "://" not in entry, "nothing is fetched"
        assert entry.endswith(".yaml") != entry.startswith("..") or (folder / entry).is_dir()


@pytest.mark.parametrize("leaf", leaves(), ids=name)
def test_a_leaf_inherits_from_no_other_leaf(leaf: Path) -> None:
    entries = [*kustomization(leaf).get("resources", []), *kustomization(leaf).get("components", [])]
    for entry in entries:
        target = (leaf / entry).resolve()
        assert target.is_relative_to(leaf) or "overlays" not in target.parts


def test_bases_carry_no_namespace() -> None:
    for folder in bases():
        if not {"operators", "storage", "gitops"} & set(folder.parts):
            assert not [one for one in build(folder) if "namespace" in one["metadata"]], name(folder)
