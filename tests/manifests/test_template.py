"""The Template gives what the overlays give."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from manifests.folders import MANIFESTS, OVERLAYS, build, kustomization, load, of_kind
from manifests.leaf import leaf, sorted_objects
from manifests.oc_process import TemplateError, process
from vllm_multinode.authoring.preview import preview
from vllm_multinode.platforms.releases import RELEASES, Release

TEMPLATE = load(MANIFESTS / "template/template.yaml")[0]
PROJECT = "models"
# Of these the Template can be parametrised into; the others have components that it has no parameter for.
PLAIN = ("deepseek-r1", "llama-3.3-70b", "llama-4-scout")


def parameters(folder: Path) -> dict[str, str]:
    """What a user would pass to get the folder's service."""
    (service,) = of_kind(build(folder), "InferenceService")
    predictor = service["spec"]["predictor"]
    requests = predictor["model"]["resources"]["requests"]
    (kind,) = [key for key in requests if "/" in key]
    path = predictor["model"]["storageUri"].rpartition("/")[2]
    (claim,) = of_kind(build(folder), "PersistentVolumeClaim")
    (job,) = [one for one in of_kind(build(folder), "Job") if one["metadata"]["name"].endswith("fetch")]
    (context,) = [one for one in predictor["model"]["args"] if one.startswith("--max-model-len=")]
    return {
        "NAME": service["metadata"]["name"].removesuffix("-vllm"),
        "NAMESPACE": PROJECT,
        "SOURCE": job["spec"]["template"]["spec"]["containers"][0]["args"][1],
        "CLAIM_SIZE": claim["spec"]["resources"]["requests"]["storage"],
        "MODEL_PATH": path,
        "TENSOR_PARALLEL_SIZE": str(predictor["workerSpec"]["tensorParallelSize"]),
        "PIPELINE_PARALLEL_SIZE": str(predictor["workerSpec"]["pipelineParallelSize"]),
        "GPU_TYPE": kind,
        "GPU_COUNT": requests[kind],
        "CONTEXT": context.partition("=")[2],
        "NODE_AFFINITY": json.dumps(predictor["affinity"]["nodeAffinity"]),
        "TOLERATIONS": json.dumps(predictor["tolerations"]),
    }


def in_project(folder: Path, scratch: Path) -> list[Any]:
    """The folder's objects in an OpenShift project, as `oc apply -n` would put them there."""
    objects = build(leaf(scratch / "on-openshift", "openshift", base=folder))
    return sorted_objects({**one, "metadata": {**one["metadata"], "namespace": PROJECT}} for one in objects)


@pytest.mark.parametrize("name", PLAIN)
def test_processing_gives_what_the_overlay_gives(name: str, tmp_path: Path) -> None:
    folder = OVERLAYS / name
    assert sorted_objects(process(TEMPLATE, parameters(folder))) == in_project(folder, tmp_path)


def test_defaults_give_the_leaf_that_it_was_made_of() -> None:
    made = sorted_objects(process(TEMPLATE, {"NAMESPACE": PROJECT}))
    tolerated = of_kind(made, "InferenceService")[0]["spec"]["predictor"]["tolerations"]
    assert [one["key"] for one in tolerated] == ["nvidia.com/gpu"]
    assert {one["metadata"]["namespace"] for one in made} == {PROJECT}


def test_other_accelerators_image_and_shared_memory(tmp_path: Path) -> None:
    """The leaf of an AMD user, written by hand, is what the parameters give."""
    patch = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "vllm"},
        "spec": {"predictor": {"model": {"storageUri": "pvc://mine-models/mine"}}},
    }
    add = [{"op": "add", "path": "/spec/predictor/model/args/-", "value": "--max-model-len=4096"}]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "fetch"},
        "spec": {
            "template": {
                "spec": {
                    "containers": [{"name": "fetch", "args": ["fetch", "s3://bucket/mine", "/models/mine"]}]
                }
            }
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models"},
        "spec": {"resources": {"requests": {"storage": "9Gi"}}},
    }
    folder = leaf(
        tmp_path / "leaf",
        "model",
        "amd",
        "network-policy",
        "pdb",
        namePrefix="mine-",
        images=[
            {
                "name": "docker.io/vllm/vllm-openai-rocm",
                "newName": "registry.example/vllm",
                "newTag": "1-rocm",
            },
        ],
        patches=[
            *({"patch": yaml.safe_dump(one)} for one in (patch, job, claim)),
            {"patch": yaml.safe_dump(add), "target": {"kind": "InferenceService"}},
        ],
    )
    given = {
        "NAME": "mine",
        "NAMESPACE": PROJECT,
        "SOURCE": "s3://bucket/mine",
        "CLAIM_SIZE": "9Gi",
        "MODEL_PATH": "mine",
        "TENSOR_PARALLEL_SIZE": "8",
        "PIPELINE_PARALLEL_SIZE": "2",
        "ACCELERATOR": "rocm",
        "GPU_TYPE": "amd.com/gpu",
        "GPU_COUNT": "8",
        "CONTEXT": "4096",
        "IMAGE": "registry.example/vllm:1-rocm",
        "NODE_AFFINITY": "{}",
        "TOLERATIONS": '[{"key":"amd.com/gpu","operator":"Exists","effect":"NoSchedule"}]',
    }
    made = process(TEMPLATE, given)
    for one in of_kind(made, "InferenceService"):
        assert one["spec"]["predictor"]["affinity"].pop("nodeAffinity") == {}
        assert one["spec"]["predictor"]["workerSpec"]["affinity"].pop("nodeAffinity") == {}
    assert sorted_objects(made) == in_project(folder, tmp_path)


def test_shared_memory_reaches_head_and_workers() -> None:
    made = process(TEMPLATE, {"NAMESPACE": PROJECT, "SHARED_MEMORY": "64Gi"})
    (runtime,) = of_kind(made, "ServingRuntime")
    for spec in (runtime["spec"], runtime["spec"]["workerSpec"]):
        volumes = {one["name"]: one["emptyDir"] for one in spec["volumes"] if "emptyDir" in one}
        assert volumes["shm"] == {"medium": "Memory", "sizeLimit": "64Gi"}


@pytest.mark.parametrize(
    "release",
    [one for one in RELEASES["openshift-ai"] if one.knows_worker_spec],
    ids=lambda one: one.name,
)
def test_no_release_of_openshift_ai_refuses_it(release: Release) -> None:
    given = {"NAMESPACE": PROJECT, "AUTOSCALER_CLASS": release.autoscaler_class}
    found = preview(process(TEMPLATE, given), release)
    assert not found.of("refused")
    assert bool(found.of("stalls")) is release.recreates_workers
    (group,) = found.groups
    assert (group.nodes, [role.gpus for role in group.roles]) == (2, [2, 2])


def test_a_project_is_required() -> None:
    with pytest.raises(TemplateError, match="NAMESPACE is required"):
        process(TEMPLATE, {})


def test_every_parameter_is_used_and_explained() -> None:
    text = yaml.safe_dump(TEMPLATE["objects"])
    for one in TEMPLATE["parameters"]:
        assert f"${{{one['name']}}}" in text or f"${{{{{one['name']}}}}}" in text
        assert one["description"].endswith(".")
        assert one["required"]


def test_a_leaf_that_it_is_made_of_has_no_component_of_its_own() -> None:
    folders = {Path(one).name for one in kustomization(OVERLAYS / "llama-3.3-70b")["components"]}
    assert folders == {"nvidia", "model", "network-policy", "pdb"}
