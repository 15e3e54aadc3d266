"""Nothing of another maker's accelerators stands in a service: taints, resources, lists, variables."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from manifests.folders import Object, build, components, leaves, name
from manifests.leaf import leaf
from vllm_multinode.authoring.render import Target, render
from vllm_multinode.authoring.spec import loads
from vllm_multinode.authoring.spec.accelerators import AcceleratorType

# What only one maker's pods and nodes have.
WORDS = {
    "nvidia": re.compile(r"nvidia\.com/|\bNVIDIA_|\bCUDA_|\bcuda\b|\bNCCL_"),
    "amd": re.compile(r"amd\.com/|\bROCR?_|\bHIP_|\brocm\b|\bRCCL_"),
    "intel": re.compile(r"gpu\.intel\.com/|\bZE_|\bONEAPI_|\bxpu\b|\bCCL_"),
    "gaudi": re.compile(r"habana\.ai/|\bHABANA_|\bHCCL_|\bPT_HPU|\bgaudi\b"),
}
# RCCL, AMD's, reads NVIDIA's names.
SHARED = re.compile(r"\bNCCL_")
MAKERS = {"nvidia": "nvidia", "amd": "amd", "intel": "intel", "gaudi": "gaudi", "cpu": "none"}


def foreign(objects: list[Object] | tuple[Object, ...], own: str) -> dict[str, list[str]]:
    """Words of other makers in what runs: the service alone, since a ServingRuntime is for any of them."""
    found = {}
    for one in objects:
        if one["kind"] not in ("InferenceService", "LeaderWorkerSet"):
            continue
        bare = {**one, "metadata": {**one["metadata"], "name": "", "labels": {}}}
        # Names that people choose: a model's, a claim's.
        text = re.sub(r'"(pvc://|oci://)[^"]*"', '""', json.dumps(bare))
        text = SHARED.sub("", text) if own == "amd" else text
        for maker, words in WORDS.items():
            if maker != own and (hits := words.findall(text)):
                found[maker] = hits
    return found


def maker_of(folder: Path) -> str:
    text = "".join(path.read_text() for path in folder.rglob("kustomization.yaml"))
    (own,) = {one for one in MAKERS if f"components/{one}\n" in text}
    return MAKERS[own]


@pytest.mark.parametrize("folder", leaves(), ids=name)
def test_an_overlay_is_of_one_maker(folder: Path) -> None:
    assert foreign(build(folder), maker_of(folder)) == {}


@pytest.mark.parametrize("component", MAKERS)
def test_a_component_is_of_one_maker(component: str, tmp_path: Path) -> None:
    objects = build(leaf(tmp_path / "leaf", component))
    assert foreign(objects, MAKERS[component]) == {}
    (service,) = [one for one in objects if one["kind"] == "InferenceService"]
    wanted = service["spec"]["predictor"]["model"]["resources"]["limits"].keys() - {"cpu", "memory"}
    tolerated = {one["key"] for one in service["spec"]["predictor"].get("tolerations", [])}
    assert wanted <= tolerated


@pytest.mark.parametrize("target", get_args(Target))
@pytest.mark.parametrize("kind", get_args(AcceleratorType))
def test_a_rendered_service_is_of_one_maker(kind: str, target: Target) -> None:
    sizes = "name: a\nmodel: {claim: x}\nparallelism: {tensor: 2, pipeline: 2}\n"
    spec = f"{sizes}accelerator: {{type: {kind}}}\n"
    assert foreign(render(loads(spec), target=target).documents, kind) == {}


def test_the_base_is_of_none(tmp_path: Path) -> None:
    assert foreign(build(leaf(tmp_path / "leaf")), "none") == {}


def test_the_words_would_be_seen(tmp_path: Path) -> None:
    """A component that brings another maker's taint is not passed over."""
    makers = [one for one in components() if one.name in MAKERS and one.name != "cpu"]
    for folder in makers:
        objects = build(leaf(tmp_path / folder.name, folder.name))
        assert foreign(objects, "none").keys() == {folder.name}
