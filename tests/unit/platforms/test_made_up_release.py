"""A release is one record: a made-up one is known to every command without any other change."""

from dataclasses import replace

import pytest
import yaml

from kserve_inputs import runtime, service
from vllm_multinode.authoring.preview import preview
from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.rules import validate
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.k8s.documents import from_text
from vllm_multinode.platforms.releases import RELEASES, Release, find, listed

SPEC = {"name": "a", "model": {"claim": "x"}, "parallelism": {"tensor": 4, "pipeline": 2}}
NEWEST = RELEASES["openshift-ai"][-1]


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Release:
    """OpenShift AI 3.9: another autoscaler class, other variables, no bug."""
    release = replace(
        NEWEST.without(NEWEST.bugs),
        number="3.9",
        autoscaler_class="external",
        storage_schemes=("pvc", "s3"),
        least_pipeline_size=3,
        worker_variables=("HEAD_SVC",),
    )
    monkeypatch.setitem(RELEASES, "openshift-ai", (*RELEASES["openshift-ai"], release))
    return release


def test_it_is_found_by_its_name(made_up: Release) -> None:
    assert find("rhoai-3.9.1") is made_up
    assert find("openshift-ai-3.10").remark.startswith("OpenShift AI 3.10 is unknown; the behaviour of 3.9")
    assert listed([made_up]) == "OpenShift AI 3.9"


def test_it_is_rendered_for(made_up: Release) -> None:
    with pytest.raises(MultinodeError, match=r"parallelism\.pipeline: OpenShift AI 3\.9 requires at least 3"):
        render(DeploymentSpec.model_validate(SPEC), "rhoai-3.9")
    spec = DeploymentSpec.model_validate({**SPEC, "parallelism": {"tensor": 4, "pipeline": 3}})
    assert "autoscalerClass: external" in render(spec, "rhoai-3.9").stream()


def test_it_is_previewed(made_up: Release) -> None:
    annotations = {
        "serving.kserve.io/deploymentMode": "RawDeployment",
        "serving.kserve.io/autoscalerClass": "external",
    }
    given = service(annotations=annotations, model={"storageUri": "s3://bucket/model"}, workerSpec={})
    found = preview([runtime(), given], "rhoai-3.9")
    assert not found.of("refused")
    (group,) = found.groups
    (worker,) = [one for one in group.objects if one["metadata"].get("name") == "llm-predictor-worker"]
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    injected = {one["name"] for one in container["env"]} - {"POD_IP", "A"}
    assert injected == {"HEAD_SVC"}


def test_it_is_validated(made_up: Release) -> None:
    documents = from_text(yaml.safe_dump_all([runtime(), service(version="0.19.0")]), "-")
    (refused,) = [one for one in validate(documents, [made_up]) if one.rule == "autoscaler-class"]
    assert refused.releases == (made_up,)
    assert "external" in refused.hint
