"""A model's source becomes a claim in the right size, a Job that fills it, and the folder that is read."""

from typing import Any

import pytest

from vllm_multinode.authoring.render import Rendered, Target, render
from vllm_multinode.authoring.spec import DeploymentSpec, loads
from vllm_multinode.contract.errors import MultinodeError


def rendered(model: dict[str, Any], target: Target = "kserve", **fields: Any) -> Rendered:
    spec = {"name": "llm", "model": {"size": "10Gi", **model}, "parallelism": {"pipeline": 2}, **fields}
    return render(DeploymentSpec.model_validate(spec), target=target)


def job(made: Rendered) -> dict[str, Any]:
    (found,) = made.files["fetch.yaml"]
    return found


def fetch(made: Rendered) -> dict[str, Any]:
    (container,) = job(made)["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


@pytest.mark.parametrize(
    ("source", "arguments", "folder"),
    [
        pytest.param("hf://org/Llm-7B", ["hf://org/Llm-7B", "/models/Llm-7B"], "Llm-7B", id="hf"),
        pytest.param("hf://org/llm@v1", ["hf://org/llm@v1", "/models/llm"], "llm", id="hf-revision"),
        pytest.param("s3://bucket/a/llm", ["s3://bucket/a/llm", "/models/llm"], "llm", id="s3"),
        pytest.param("oci://quay.io/a/llm:1", ["oci://quay.io/a/llm:1", "/models/llm"], "llm", id="oci"),
        pytest.param("file://other/a/llm", ["file:///source/a/llm", "/models/llm"], "llm", id="claim"),
    ],
)
@pytest.mark.parametrize("target", ["kserve", "lws"])
def test_source_and_folder(source: str, arguments: list[str], folder: str, target: Target) -> None:
    made = rendered({"source": source}, target)
    assert fetch(made)["args"] == ["fetch", *arguments]
    assert f"pvc://llm-model/{folder}" in made.stream()
    (claim,) = made.files["claim.yaml"]
    assert claim["metadata"]["name"] == "llm-model"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_job_is_the_service_s_image_and_launcher() -> None:
    made = rendered({"source": "hf://a/b"}, image="registry/vllm:1")
    assert fetch(made)["image"] == "registry/vllm:1"
    (runtime,) = made.files["serving-runtime.yaml"]
    (launcher,) = [one for one in runtime["spec"]["volumes"] if one["name"] == "launcher"]
    assert launcher in job(made)["spec"]["template"]["spec"]["volumes"]


@pytest.mark.parametrize(
    ("model", "size"),
    [
        pytest.param({"source": "hf://a/b"}, "11Gi", id="a-tenth-more"),
        pytest.param({"source": "oci://a/b:1"}, "21Gi", id="layers-beside-it"),
        pytest.param({"source": "hf://a/b", "createClaim": {"size": "50Gi"}}, "50Gi", id="as-asked"),
        pytest.param({"source": "hf://a/b", "size": "10.5Gi"}, "12Gi", id="rounded-up"),
        pytest.param({"claim": "x", "createClaim": {}}, "11Gi", id="without-a-source"),
    ],
)
def test_the_claim_s_size(model: dict[str, Any], size: str) -> None:
    (claim,) = rendered(model).files["claim.yaml"]
    assert claim["spec"]["resources"]["requests"]["storage"] == size


def test_a_claim_of_one_s_own_is_filled_and_not_written() -> None:
    made = rendered({"source": "hf://a/b", "claim": "models", "path": "mine"})
    assert "claim.yaml" not in made.files
    volumes = job(made)["spec"]["template"]["spec"]["volumes"]
    assert {"name": "models", "persistentVolumeClaim": {"claimName": "models"}} in volumes
    assert fetch(made)["args"][-1] == "/models/mine"


def test_another_job_has_another_name() -> None:
    names = {job(rendered({"source": f"hf://a/{name}"}))["metadata"]["name"] for name in ("b", "c", "b")}
    assert len(names) == 2


def test_pods_wait_for_it() -> None:
    text = rendered({"source": "hf://a/b"}).text("inference-service.yaml")
    assert text.count("MULTINODE_MODEL_TIMEOUT") == 2
    assert "MULTINODE_MODEL_TIMEOUT" not in rendered({"claim": "x"}).stream().partition("binaryData")[0]


@pytest.mark.parametrize(
    ("model", "field", "says"),
    [
        pytest.param("{source: 'http://a/b'}", "model.source", "is not a source", id="scheme"),
        pytest.param("{source: 'hf://a'}", "model.source", "is not a source", id="no-name"),
        pytest.param("{source: 'hf://a/b'}", "model.size", "size of its weights", id="no-size"),
        pytest.param(
            "{source: 'hf://a/b', oci: 'oci://a/b:1', size: 1Gi}",
            "model.source",
            "needs no fetch Job",
            id="oci",
        ),
        pytest.param(
            "{claim: x, sourceSecret: s}", "model.sourceSecret", "no source needs", id="secret-alone"
        ),
        pytest.param(
            "{source: 'hf://a/b', size: 9Gi, createClaim: {size: 5Gi}}",
            "model.createClaim.size",
            "less than the 9Gi",
            id="claim-too-small",
        ),
    ],
)
def test_refused(model: str, field: str, says: str) -> None:
    with pytest.raises(MultinodeError) as caught:
        loads(f"name: llm\nmodel: {model}\nparallelism: {{pipeline: 2}}\n", "spec.yaml")
    assert field in str(caught.value)
    assert says in str(caught.value)
