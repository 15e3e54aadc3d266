"""Which claim and folder a service's model is looked for in."""

import pytest

from vllm_multinode.authoring.rules.claims import claims_elsewhere
from vllm_multinode.k8s.documents import from_text

CLAIM = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: models}}"


def service(source: str) -> str:
    return (
        "{apiVersion: serving.kserve.io/v1beta1, kind: InferenceService, metadata: {name: llm}, "
        f"spec: {{predictor: {{model: {{storageUri: '{source}'}}}}}}}}"
    )


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        pytest.param([service("pvc://models/llama")], "the folder llama of the claim models", id="folder"),
        pytest.param([service("pvc://models")], "llm reads the claim models", id="root"),
        pytest.param([service("pvc://models/llama"), CLAIM], "", id="claim-is-given"),
        pytest.param([service("oci://registry.example/llama:1")], "", id="image"),
    ],
)
def test_a_claim_that_is_not_among_the_files_is_named(texts: list[str], said: str) -> None:
    (found,) = [*claims_elsewhere(from_text("\n---\n".join(texts), "x.yaml"))] or [""]
    assert said in found
    assert bool(said) == bool(found)
