"""Fields that the custom resource definitions of a release have."""

import pytest

from vllm_multinode.authoring.rules import validate
from vllm_multinode.k8s.documents import from_text
from vllm_multinode.platforms.releases import find

SERVICE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: llama}
spec:
  predictor:
    autoScaling: {metrics: []}
    model: {modelFormat: {name: vLLM}}
    workerSpec: {pipelineParallelSize: 2}
"""


@pytest.mark.parametrize(
    ("platform", "known"),
    [
        pytest.param("openshift-ai-2.16", False, id="fork-before-the-field"),
        pytest.param("openshift-ai-2.22", False, id="last-fork-before-the-field"),
        pytest.param("openshift-ai-2.23", True, id="fork-with-the-field"),
        pytest.param("kserve-0.15.0", True, id="upstream"),
    ],
)
def test_a_fork_knows_the_fields_of_its_own_definitions(platform: str, known: bool) -> None:
    findings = validate(from_text(SERVICE, "service.yaml"), [find(platform)])
    unknown = [finding.message for finding in findings if finding.rule == "unknown-field"]
    assert bool(unknown) is not known
    assert all("autoScaling" in what for what in unknown)
