"""What KServe would make of the overlays, version by version."""

import re
from pathlib import Path

import pytest

from kserve_inputs import VERSIONS
from manifests.folders import MANIFESTS, bases, build, leaves, name, of_kind
from manifests.leaf import leaf
from vllm_multinode.authoring.preview import preview
from vllm_multinode.authoring.rules import validate
from vllm_multinode.k8s.files import read
from vllm_multinode.platforms.releases import RELEASES, Release, find, listed

# 0.15.0 and 0.16.0 want their components, and v0.20.0 recreates the workers endlessly (kserve#6113).
AS_THEY_ARE = tuple(version for version in VERSIONS if version not in ("0.15.0", "0.16.0", "0.20.0"))
# KServe knows no Intel GPU: under mp, from 0.18 on, the number of nodes is PP all the same.
MP_ONLY = ("0.18.1", "0.19.0")
SERVING = [folder for folder in bases() if of_kind(build(folder), "InferenceService")]


def versions(folder: Path) -> tuple[str, ...]:
    """Those that the folder is for."""
    return MP_ONLY if folder.name in ("granite-4.0-h-small", "mp") else AS_THEY_ARE


def blocking(folder: Path, tested: tuple[str, ...]) -> list[str]:
    runtime = [str(MANIFESTS / "runtime/cluster")] if folder.name == "base" else []
    found = validate(read([str(folder), *runtime]), [find(version) for version in tested])
    return [f"{one.rule} {listed(one.releases)}: {one.message}" for one in found if one.blocks]


@pytest.mark.parametrize("folder", SERVING, ids=name)
def test_nothing_is_refused_or_stalls(folder: Path) -> None:
    assert blocking(folder, versions(folder)) == []


@pytest.mark.parametrize("version", ["0.15.0", "0.16.0"])
def test_a_version_of_its_own_kind_has_its_component(tmp_path: Path, version: str) -> None:
    # 0.15.0 gives every pod TP accelerators: eight, as the component nvidia asks for.
    folder = leaf(tmp_path / "leaf", "nvidia", f"kserve-{version}")
    assert blocking(folder, (version,)) == []
    without = leaf(tmp_path / "without", "nvidia")
    assert blocking(without, (version,)) != []


@pytest.mark.parametrize(
    "release",
    [one for one in RELEASES["openshift-ai"] if one.knows_worker_spec and not one.recreates_workers],
    ids=lambda one: one.name,
)
def test_every_release_of_openshift_ai_has_its_components(tmp_path: Path, release: Release) -> None:
    own = ["kserve-0.15.0"] if release.autoscaler_class == "external" else []
    assert blocking(leaf(tmp_path / "leaf", "nvidia", *own), (release.name,)) == []


@pytest.mark.parametrize("folder", leaves(), ids=name)
def test_the_readme_promises_the_nodes_that_come(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    replicas, nodes = re.search(r"- Size: (?:(\d+) groups of )?(\d+) nodes", text).groups()  # type: ignore[union-attr]
    sizes = re.search(r"TP (\d+), PP (\d+)", text)
    assert sizes
    for version in versions(folder):
        made = preview(build(folder), version)
        assert not made.of("refused")
        assert len(made.groups) == int(replicas or 1)
        for group in made.groups:
            assert group.nodes == int(nodes), version
            assert (group.tensor_parallel, group.pipeline_parallel) == tuple(map(int, sizes.groups()))
            ranks = group.tensor_parallel * group.pipeline_parallel // group.nodes
            assert {role.gpus for role in group.roles} == {0 if folder.name == "tiny" else ranks}, version


@pytest.mark.parametrize("folder", leaves(), ids=name)
def test_the_model_comes_along(folder: Path) -> None:
    """The claim that the service reads is there, in the README's size, and a Job fills the very folder."""
    objects = build(folder)
    (claim,) = of_kind(objects, "PersistentVolumeClaim")
    (job,) = [one for one in of_kind(objects, "Job") if one["metadata"]["name"].endswith("fetch")]
    pod = job["spec"]["template"]["spec"]
    command, source, directory = pod["containers"][0]["args"]
    text = (folder / "README.md").read_text()
    assert command == "fetch"
    assert f"- Model: `{source}`" in text
    assert f"a claim of {claim['spec']['resources']['requests']['storage'].removesuffix('Gi')} GiB" in text
    assert [
        one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if one["name"] == "models"
    ] == [claim["metadata"]["name"]]
    for service in of_kind(objects, "InferenceService"):
        uri = service["spec"]["predictor"]["model"]["storageUri"]
        assert uri == f"pvc://{claim['metadata']['name']}/{directory.removeprefix('/models/')}"
