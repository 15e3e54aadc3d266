"""The rendered InferenceService in the KServe SDK's own types."""

import subprocess
import sys

import pytest

from vllm_multinode import DeploymentSpec, inference_service, render
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

_SPEC = DeploymentSpec.model_validate(
    {
        "name": "a",
        "model": {"claim": "x", "size": "10Gi"},
        "parallelism": {"tensor": 4, "pipeline": 2},
        "env": {"A": {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}},
        "placement": {"tolerations": [{"operator": "Exists"}], "nodeSelector": {"a": "b"}},
    }
)


# The SDK imports what is deprecated.
@pytest.mark.filterwarnings("ignore")
def test_typed_and_the_same() -> None:
    models = pytest.importorskip(
        "kserve.models", reason="the KServe SDK is not installed", exc_type=ImportError
    )
    from kserve.api_client import ApiClient

    made = inference_service(_SPEC)
    assert isinstance(made, models.V1beta1InferenceService)
    assert isinstance(made.spec.predictor.worker_spec, models.V1beta1WorkerSpec)
    assert made.spec.predictor.worker_spec.tensor_parallel_size == 4
    back = ApiClient().sanitize_for_serialization(made)
    # A field of the SDK's model that is a name of the container, and empty.
    assert not back["spec"]["predictor"]["model"].pop("name", "")
    assert back == render(_SPEC).files["inference-service.yaml"][0]


def test_missing_sdk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kserve", None)
    with pytest.raises(MultinodeError) as caught:
        inference_service(_SPEC)
    assert caught.value.code == ExitCode.CLUSTER_EXTRA
    assert "vllm-multinode[sdk]" in str(caught.value)


def test_replicas_are_several() -> None:
    spec = _SPEC.model_copy(update={"replicas": 2})
    with pytest.raises(MultinodeError, match="2 InferenceServices"):
        inference_service(spec)


def test_the_package_imports_nothing_before_it_is_asked() -> None:
    program = (
        "import sys, vllm_multinode\n"
        "assert 'pydantic' not in sys.modules\n"
        "assert set(vllm_multinode.__all__) <= set(dir(vllm_multinode))\n"
        "for name in vllm_multinode.__all__: getattr(vllm_multinode, name)\n"
        "assert 'kserve' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(ImportError):
        from vllm_multinode import nothing  # noqa: F401
