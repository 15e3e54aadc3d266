"""What no group of one engine stands for is rejected, once and with its reason."""

from typing import Any

import pytest
import yaml

from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.convert import Conversion, convert
from vllm_multinode.convert.report import as_lines
from vllm_multinode.k8s.documents import Reading, from_text


def converted(text: str) -> Conversion:
    return convert(from_text(text, "x.yaml", Reading(untyped=True)))


def leader_worker_set(container: dict[str, Any], **metadata: Any) -> str:
    pod = {"spec": {"containers": [{"name": "c", **container}]}}
    body = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": "x", **metadata},
        "spec": {"replicas": 1, "leaderWorkerTemplate": {"size": 2, "workerTemplate": pod}},
    }
    return yaml.safe_dump(body)


VLLM = {"image": "vllm/vllm-openai", "command": ["vllm", "serve", "org/name", "--tensor-parallel-size", "8"]}
SERVICE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: x}
spec: {predictor: {model: {modelFormat: {name: sklearn}, storageUri: "gs://bucket/model"}}}
"""
SET = """
apiVersion: disaggregatedset.x-k8s.io/v1
kind: DisaggregatedSet
metadata: {name: x}
spec: {roles: [{name: prefill, spec: {replicas: 1}}, {name: decode, spec: {replicas: 1}}]}
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(leader_worker_set({"image": "nginx"}), "starts vLLM", id="no-engine"),
        pytest.param(
            leader_worker_set({"image": "sglang", "command": ["python3", "-m", "sglang.launch_server"]}),
            "It runs SGLang", id="other-server",
        ),
        pytest.param(
            leader_worker_set({**VLLM, "args": ["--data-parallel-size", "16"]}),
            "Data parallelism", id="wide-ep",
        ),
        pytest.param(
            leader_worker_set(VLLM, labels={"llm-d.ai/role": "decode"}),
            "Separate prefill and decode", id="decode-alone",
        ),
        pytest.param(SET, "Separate prefill and decode", id="disaggregated-set"),
        pytest.param(
            leader_worker_set({**VLLM, "resources": {"limits": {"google.com/tpu": "4"}}}), "TPUs", id="tpu"
        ),
        pytest.param(
            leader_worker_set({**VLLM, "resources": {"limits": {"aws.amazon.com/neuron": "16"}}}),
            "Neuron", id="neuron",
        ),
        pytest.param(SERVICE, "vLLM cannot serve sklearn", id="other-model-format"),
        pytest.param(
            'model: "{{ .Values.model }}"\ninference: {framework: lws-vllm}', "chart's template",
            id="placeholders-in-values",
        ),
    ],
)  # fmt: skip
def test_one_line_says_why(text: str, reason: str) -> None:
    conversion = converted(text)
    assert (conversion.code, conversion.services) == (ExitCode.NOT_CONVERTED, ())
    [line] = conversion.refused
    assert reason in line


def test_a_plain_group_of_vllm_is_not_refused() -> None:
    assert converted(leader_worker_set(VLLM)).refused == ()


def test_the_model_in_a_claim_is_where_the_claim_is_mounted() -> None:
    container = {
        "command": ["vllm", "serve", "/data/models/tiny"],
        "volumeMounts": [{"name": "m", "mountPath": "/data", "subPath": "all"}],
    }
    body = yaml.safe_load(leader_worker_set(container))
    pod = body["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]
    pod["volumes"] = [{"name": "m", "persistentVolumeClaim": {"claimName": "weights"}}]
    (service,) = converted(yaml.safe_dump(body)).services
    assert service.fields["model"] == {"claim": "weights", "path": "all/models/tiny"}


@pytest.mark.parametrize(
    ("value", "fields", "status"),
    [
        pytest.param("--max-model-len 4096", {"context": 4096}, "changed", id="argument"),
        pytest.param("--seed 3 --enforce-eager", {"arguments": {"seed": 3, "enforce-eager": True}}, "changed",
                     id="several"),
        pytest.param("--no-such-option 3", {}, "not_carried", id="unknown"),
        pytest.param("--kv-events-config '{{ .x }}'", {}, "not_carried", id="template"),
        pytest.param("--seed '3", {}, "not_carried", id="unclosed-quote"),
    ],
)  # fmt: skip
def test_arguments_that_kserves_templates_append(value: str, fields: dict[str, Any], status: str) -> None:
    env = [{"name": "VLLM_ADDITIONAL_ARGS", "value": value}]
    body = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LLMInferenceService",
        "metadata": {"name": "x"},
        "spec": {"model": {"uri": "pvc://a/b"}, "template": {"containers": [{"name": "main", "env": env}]}},
    }
    conversion = converted(yaml.safe_dump(body))
    (service,) = conversion.services
    assert {key: one for key, one in service.fields.items() if key not in ("name", "model")} == fields
    rows = {row.source_path: row.status for row in conversion.rows}
    assert rows["spec.template.containers[0].env[0].value"] == status


def test_lines_for_a_terminal_are_short() -> None:
    text = leader_worker_set({**VLLM, "envFrom": [{"configMapRef": {"name": "a" * 30}}] * 9})
    lines = list(as_lines(converted(text), 80))
    assert all(len(line) <= 80 for line in lines if " " in line.strip())
    assert sum("envFrom" in line for line in lines) <= 4
    assert any("and 6 more" in line for line in lines)
