"""What fields of a deployment spec say of one another."""

from typing import Any

import pytest
from pydantic import ValidationError

from vllm_multinode.authoring.spec import DeploymentSpec

_LEAST: dict[str, Any] = {"name": "a", "model": {"claim": "x"}}


@pytest.mark.parametrize(
    ("fields", "path", "says"),
    [
        pytest.param({"model": {}}, "model", "as claim, source or oci", id="no-model"),
        pytest.param(
            {"model": {"claim": "x", "oci": "oci://a/b"}}, "model", "oci cannot be combined", id="two"
        ),
        pytest.param({"model": {"oci": "docker://a/b"}}, "model.oci", "oci://registry", id="no-oci"),
        pytest.param(
            {"model": {"oci": "oci://a/b", "path": "c"}}, "model.path", "leave it out", id="oci-path"
        ),
        pytest.param(
            {"model": {"claim": "x", "path": "/a"}}, "model.path", "a folder of", id="absolute-path"
        ),
        pytest.param(
            {"model": {"claim": "x", "path": "a/../b"}}, "model.path", "not a folder", id="climbing-path"
        ),
        pytest.param(
            {
                "model": {"claim": "x", "createClaim": {"size": "1Gi", "accessModes": ["ReadWriteOnce"]}},
                "parallelism": {"pipeline": 2},
            },
            "model.create_claim.access_modes",
            "2 pods mount the claim",
            id="claim-of-one-node",
        ),
        pytest.param(
            {"parallelism": {"tensor": 4, "pipeline": 3}, "accelerator": {"perNode": 8}},
            "accelerator.per_node",
            "12 ranks do not divide",
            id="uneven-nodes",
        ),
        pytest.param(
            {"parallelism": {"tensor": 4, "pipeline": 2, "nodes": 4}},
            "parallelism.nodes",
            "are 2 nodes, not 4",
            id="other-nodes",
        ),
        pytest.param({"name": "1a"}, "name", "begin with a letter", id="kserve-name"),
        pytest.param({"name": "A"}, "name", "not a valid Kubernetes name", id="upper-case"),
        pytest.param({"name": "a" * 42}, "name", "allow 41", id="long-name"),
        pytest.param({"name": "a" * 40, "replicas": 2}, "name", "allow 41", id="long-replica"),
        pytest.param({"router": {"image": "i:1"}}, "router", "needs no router", id="router-of-one"),
        pytest.param(
            {
                "model": {
                    "source": "hf://o/m",
                    "size": "1Gi",
                    "createClaim": {"accessModes": ["ReadWriteOnce"]},
                },
                "replicas": 2,
            },
            "model.create_claim.access_modes",
            "add ReadWriteMany",
            id="replicas-from-a-source-to-one-node",
        ),
        pytest.param({"name": "a" * 41, "namespace": "b" * 12}, "name", "has 64 characters", id="long-host"),
        pytest.param({"env": {"HEAD_SVC": "a"}}, "env.HEAD_SVC", "KServe", id="kserves-variable"),
        pytest.param(
            {"env": {"MULTINODE_PORT": "1"}}, "env.MULTINODE_PORT", "rendered pods", id="our-variable"
        ),
        pytest.param({"env": {"1A": "a"}}, "env.1A", "not a valid variable name", id="no-variable"),
        pytest.param({"env": {"A": {"valueFrom": {}}}}, "env.A", "one source", id="no-source"),
        pytest.param(
            {"arguments": {"tensor_parallel_size": 2}},
            "arguments.tensor_parallel_size",
            "parallelism.tensor says it",
            id="size-as-argument",
        ),
        pytest.param({"arguments": ["-tp", "2"]}, "arguments", "parallelism.tensor", id="short-argument"),
        pytest.param(
            {"arguments": ["--data-parallel-size=2"]}, "arguments", "one engine", id="data-parallel"
        ),
        pytest.param({"arguments": {"port": 1}}, "arguments.port", "8080", id="port-argument"),
        pytest.param(
            {"arguments": {"chat-template": "{{ a }}"}}, "arguments.chat-template", "template", id="braces"
        ),
        pytest.param(
            {"arguments": {"max-model-len": 5}, "context": 5},
            "arguments",
            "context set the same",
            id="said-twice",
        ),
        pytest.param({"network": {"portRange": [9, 2000]}}, "network.port_range", "a range", id="low-ports"),
        pytest.param(
            {"network": {"portRange": [30000, 30010]}}, "network.port_range", "up to 512", id="few-ports"
        ),
        pytest.param(
            {"network": {"portRange": [29000, 30000]}}, "network.port_range", "29500", id="taken-port"
        ),
        pytest.param(
            {
                "network": {"portRange": [40000, 41000]},
                "podSecurityContext": {"sysctls": [{"name": "net.ipv4.ip_local_port_range"}]},
            },
            "network.port_range",
            "keep one",
            id="sysctl-twice",
        ),
        pytest.param(
            {"accelerator": {"type": "gaudi", "product": "x"}},
            "accelerator.product",
            "nodeSelector",
            id="no-label",
        ),
        pytest.param(
            {"accelerator": {"product": "x"}, "placement": {"nodeSelector": {"nvidia.com/gpu.product": "y"}}},
            "accelerator.product",
            "says nvidia.com/gpu.product=y",
            id="two-products",
        ),
        pytest.param(
            {"resources": {"other": {"nvidia.com/gpu": 1}}},
            "resources.other.nvidia.com/gpu",
            "perNode",
            id="gpus-twice",
        ),
        pytest.param(
            {"resources": {"cpu": 2, "cpuLimit": "1500m"}}, "resources.cpu", "limit", id="over-limit"
        ),
        pytest.param({"sharedMemory": "100Mi"}, "shared_memory", "512Mi", id="small-shm"),
        pytest.param(
            {"resources": {"memoryLimit": "8Gi"}}, "shared_memory", "memoryLimit", id="shm-over-limit"
        ),
        pytest.param(
            {"annotations": {"serving.kserve.io/autoscalerClass": "hpa"}},
            "annotations.serving.kserve.io/autoscalerClass",
            "written by render",
            id="our-annotation",
        ),
    ],
)
def test_contradiction_is_named_at_its_field(fields: dict[str, Any], path: str, says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DeploymentSpec.model_validate(_LEAST | fields)
    found = {".".join(map(str, one["loc"])): one["msg"] for one in caught.value.errors()}
    assert path in found
    assert says in found[path]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"arguments": {"data-parallel-size": 1}}, id="data-parallel-of-one"),
        pytest.param({"arguments": ["--config", "/etc/vllm.yaml"]}, id="config-in-the-pod"),
        pytest.param({"arguments": {"config": "/etc/vllm.yaml"}}, id="config-in-a-mapping"),
        pytest.param({"name": "a" * 41, "namespace": "b" * 11}, id="longest-host"),
        pytest.param({"sharedMemory": "1Mi", "env": {"MULTINODE_SHARED_MEMORY_MIN": 0}}, id="shm-unchecked"),
        pytest.param({"tokenSecret": "token"}, id="secret-by-name"),
        pytest.param({"runtime": "other"}, id="runtime-by-name"),
        pytest.param({"parallelism": {"tensor": 8}, "accelerator": {"perNode": 4}}, id="tp-over-nodes"),
    ],
)
def test_allowed(fields: dict[str, Any]) -> None:
    DeploymentSpec.model_validate(_LEAST | fields)


def test_role_replaces_single_fields() -> None:
    spec = DeploymentSpec.model_validate(
        _LEAST
        | {
            "placement": {
                "nodeSelector": {"a": "b"},
                "schedulerName": "x",
                "worker": {"nodeSelector": {"c": "d"}, "schedulerName": None},
            }
        }
    )
    assert spec.placements["head"].node_selector == {"a": "b"}
    assert spec.placements["worker"].node_selector == {"c": "d"}
    assert spec.placements["head"].scheduler_name == "x"
    assert spec.placements["worker"].scheduler_name is None
