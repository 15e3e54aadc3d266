"""What is rendered for each KServe version, and what is rejected or remarked on."""

from typing import Any

import pytest

from kserve_inputs import VERSIONS
from vllm_multinode.authoring.render import Target, render
from vllm_multinode.authoring.rules import validate
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.documents import from_text
from vllm_multinode.platforms.releases import RELEASES, Release

_LEAST: dict[str, Any] = {"name": "a", "model": {"claim": "x"}, "parallelism": {"tensor": 4, "pipeline": 2}}


def spec(fields: dict[str, Any] | None = None) -> DeploymentSpec:
    return DeploymentSpec.model_validate(_LEAST | (fields or {}))


@pytest.mark.parametrize(
    ("version", "mode", "autoscaler"),
    [
        pytest.param("0.15.0", "RawDeployment", "external", id="v0.15.0"),
        pytest.param("0.15.2", "RawDeployment", "none", id="v0.15.2"),
        pytest.param("0.16.0", "Standard", "none", id="v0.16.0"),
        pytest.param("0.17.1", "Standard", "none", id="v0.17.1"),
        pytest.param("v0.20", "Standard", "none", id="v0.20"),
    ],
)
def test_annotations_and_strategy(version: str, mode: str, autoscaler: str) -> None:
    (service,) = render(spec(), version).files["inference-service.yaml"]
    annotations = service["metadata"]["annotations"]
    assert annotations["serving.kserve.io/deploymentMode"] == mode
    assert annotations["serving.kserve.io/autoscalerClass"] == autoscaler
    assert service["spec"]["predictor"]["deploymentStrategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("version", "fields", "field", "says"),
    [
        pytest.param("0.16.0", {"model": {"oci": "oci://a/b"}}, "model.oci", "claim", id="oci"),
        pytest.param("0.18.1", {"env": {"PYTHONPATH": "x"}}, "env.PYTHONPATH", "rejects", id="pythonpath"),
        pytest.param(
            "0.15.0", {"parallelism": {"tensor": 2}}, "parallelism.pipeline", "at least 2", id="pp-of-one"
        ),
        pytest.param(
            "0.15.0",
            {"accelerator": {"perNode": 2}, "executor": "ray"},
            "accelerator.perNode",
            "4 nodes of 2 are meant, and KServe 0.15.0 makes 2 of 4",
            id="v0.15.0-counts-by-pp",
        ),
        pytest.param(
            "0.18.1",
            {"accelerator": {"perNode": 2}, "executor": "mp"},
            "accelerator.perNode",
            "4 nodes of 2 are meant, and KServe's mp is PP nodes of TP accelerators: 2 of 4",
            id="mp-counts-by-pp",
        ),
        pytest.param(
            "0.17.1",
            {"accelerator": {"perNode": 2}, "executor": "mp"},
            "accelerator.perNode",
            "2 of 4",
            id="mp-before-its-annotation",
        ),
        pytest.param(
            "0.18.1",
            {"accelerator": {"type": "none"}, "executor": "ray"},
            "accelerator.perNode",
            "2 nodes of 4 are meant, and KServe 0.18.1 makes 8 of 1",
            id="cpu-of-several-ranks",
        ),
        pytest.param(
            "0.15.0", {"accelerator": {"type": "none"}}, "accelerator", "nvidia.com/gpu", id="cpu-v0.15.0"
        ),
    ],
)
def test_refused(version: str, fields: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(MultinodeError) as caught:
        render(spec(fields), version)
    assert caught.value.code == ExitCode.SPEC
    assert caught.value.where == field
    assert says in str(caught.value)


@pytest.mark.parametrize("version", VERSIONS)
def test_mp_before_its_annotation(version: str) -> None:
    """The launcher has a variable of its own for mp; every version makes PP nodes of TP accelerators."""
    made = render(spec({"executor": "mp"}), version)
    (runtime,) = made.files["serving-runtime.yaml"]
    assert runtime["spec"]["annotations"]["multinode/executor-backend"] == "mp"


@pytest.mark.parametrize(
    ("version", "fields", "says"),
    [
        pytest.param("0.20.0", {}, "kserve#6113", id="v0.20.0"),
        pytest.param("0.16.0", {"replicas": 4}, "newest head Services", id="many-replicas"),
        pytest.param(
            "0.18.1",
            {"accelerator": {"type": "intel"}, "executor": "ray"},
            "customGPUResourceTypeList",
            id="uncounted-resource",
        ),
        pytest.param(
            "0.18.1",
            {"accelerator": {"type": "none", "perNode": 1}, "executor": "ray"},
            "over the containers' cpu: 1 a pod",
            id="cpu",
        ),
    ],
)
def test_notes(version: str, fields: dict[str, Any], says: str) -> None:
    assert any(says in note for note in render(spec(fields), version).notes)


@pytest.mark.parametrize(
    ("platform", "fields", "says"),
    [
        pytest.param("openshift-ai-3.4", {}, "supports only the image of its template", id="red-hat-image"),
        pytest.param("openshift-ai-3.4", {"image": "a/b:1"}, "", id="image-named"),
        pytest.param("kserve-0.19.0", {"executor": "ray"}, "that of vLLM 0.17.1, the last", id="ray"),
        pytest.param(
            "kserve-0.19.0",
            {"executor": "ray", "accelerator": {"type": "amd"}},
            "vllm-multinode:0.1.0-rocm is in no registry",
            id="ray-on-amd",
        ),
        pytest.param("kserve-0.19.0", {"executor": "ray", "image": "a/b:1"}, "", id="ray-image-named"),
    ],
)
def test_notes_on_the_image(platform: str, fields: dict[str, Any], says: str) -> None:
    notes = [note for note in render(spec(fields), platform).notes if "image" in note]
    assert [says in note for note in notes] == [True] * bool(says)


@pytest.mark.parametrize(
    ("platform", "user"),
    [
        pytest.param("kserve-0.19.0", 2000, id="kubernetes"),
        pytest.param("openshift-ai-3.4", None, id="openshift"),
    ],
)
@pytest.mark.parametrize("target", ["kserve", "lws"])
def test_openshift_chooses_the_user(platform: str, user: int | None, target: Target) -> None:
    text = render(spec(), platform, target).stream()
    assert (f"runAsUser: {user}" in text) == (user is not None)
    assert ("runAsUser" in text) == (user is not None)


def test_no_notes_where_all_is_well() -> None:
    assert render(spec(), "0.18.1").notes == ()


def test_unknown_version() -> None:
    with pytest.raises(MultinodeError) as caught:
        render(spec(), "latest")
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize(
    "release", [one for one in RELEASES["openshift-ai"] if one.knows_worker_spec], ids=lambda one: one.name
)
def test_every_release_of_openshift_ai_takes_what_is_rendered_for_it(release: Release) -> None:
    made = render(spec(), release)
    found = [one for one in validate(from_text(made.stream(), "-"), [release]) if one.blocks]
    assert {one.rule for one in found} == ({"workers-recreated"} if release.recreates_workers else set())


@pytest.mark.parametrize("number", ["2.16", "2.22"])
def test_a_resource_that_a_release_takes_for_an_unknown_gpu_is_refused(number: str) -> None:
    asked = spec({"network": {"rdma": {"resource": "rdma/hca"}}})
    with pytest.raises(MultinodeError, match=f"OpenShift AI {number} rejects rdma/hca as unknown GPUs"):
        render(asked, f"rhoai-{number}")
    assert "rdma/hca" in render(asked, "rhoai-2.23").stream()
