"""Every field of a spec stands where KServe and LeaderWorkerSet read it, for head and workers."""

from collections.abc import Mapping
from typing import Any

import pytest

from vllm_multinode.authoring.render import Target, render
from vllm_multinode.authoring.spec import DeploymentSpec

_LEAST: dict[str, Any] = {"name": "a", "model": {"claim": "x"}, "parallelism": {"tensor": 4, "pipeline": 2}}
_POD: Mapping[Target, tuple[str, str]] = {
    "kserve": ("spec.predictor", "spec.predictor.workerSpec"),
    "lws": (
        "spec.leaderWorkerTemplate.leaderTemplate.spec",
        "spec.leaderWorkerTemplate.workerTemplate.spec",
    ),
}
_CONTAINER: Mapping[Target, tuple[str, str]] = {
    "kserve": ("spec.predictor.model", "spec.predictor.workerSpec.containers.0"),
    "lws": (f"{_POD['lws'][0]}.containers.0", f"{_POD['lws'][1]}.containers.0"),
}


def service(fields: Mapping[str, Any], target: Target = "kserve", kserve: str = "0.18.1") -> dict[str, Any]:
    """The InferenceService or LeaderWorkerSet of the least spec with some fields more."""
    spec = DeploymentSpec.model_validate({**_LEAST, **fields})
    kind = "InferenceService" if target == "kserve" else "LeaderWorkerSet"
    return next(one for one in render(spec, kserve, target).documents if one["kind"] == kind)


def at(body: Any, path: str) -> Any:
    """The value at a dotted path; list items by number, or by their name."""
    for step in path.split("."):
        if isinstance(body, list):
            body = body[int(step)] if step.isdecimal() else next(one for one in body if one["name"] == step)
        else:
            body = body.get(step.replace("~", "."), None)
    return body


_IN_POD = [
    pytest.param({"placement": {"nodeSelector": {"a": "b"}}}, "nodeSelector", {"a": "b"}, id="node-selector"),
    pytest.param(
        {"accelerator": {"product": "NVIDIA-H200"}},
        "nodeSelector",
        {"nvidia.com/gpu.product": "NVIDIA-H200"},
        id="product",
    ),
    pytest.param(
        {"placement": {"tolerations": [{"key": "a", "tolerationSeconds": 0}]}},
        "tolerations",
        [{"key": "a", "tolerationSeconds": 0}],
        id="tolerations",
    ),
    pytest.param(
        {"placement": {"affinity": {"nodeAffinity": {"x": []}}}},
        "affinity.nodeAffinity",
        {"x": []},
        id="affinity",
    ),
    pytest.param(
        {},
        "affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution.0.podAffinityTerm.topologyKey",
        "topology.kubernetes.io/zone",
        id="one-zone",
    ),
    pytest.param(
        {"placement": {"topologyKey": "rack"}},
        "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution.0.topologyKey",
        "rack",
        id="one-rack",
    ),
    pytest.param(
        {"placement": {"affinity": {"podAffinity": {"x": []}}}},
        "affinity",
        {"podAffinity": {"x": []}},
        id="own-pod-affinity",
    ),
    pytest.param(
        {"placement": {"topologySpreadConstraints": [{"topologyKey": "zone", "labelSelector": {"a": {}}}]}},
        "topologySpreadConstraints.0.whenUnsatisfiable",
        "DoNotSchedule",
        id="topology",
    ),
    pytest.param({"placement": {"priorityClassName": "p"}}, "priorityClassName", "p", id="priority-class"),
    pytest.param({"placement": {"schedulerName": "s"}}, "schedulerName", "s", id="scheduler"),
    pytest.param({"placement": {"runtimeClassName": "r"}}, "runtimeClassName", "r", id="runtime-class"),
    pytest.param(
        {"podSecurityContext": {"fsGroup": 1}}, "securityContext", {"fsGroup": 1}, id="pod-security"
    ),
    pytest.param(
        {
            "network": {"portRange": [40000, 41000]},
            "podSecurityContext": {"sysctls": [{"name": "a", "value": "1"}]},
        },
        "securityContext.sysctls",
        [{"name": "a", "value": "1"}, {"name": "net.ipv4.ip_local_port_range", "value": "40000 41000"}],
        id="port-range",
    ),
    pytest.param({"serviceAccountName": "s"}, "serviceAccountName", "s", id="service-account"),
    pytest.param({"imagePullSecrets": ["s"]}, "imagePullSecrets", [{"name": "s"}], id="pull-secrets"),
    pytest.param({"drain": 100}, "terminationGracePeriodSeconds", 120, id="grace-period"),
    pytest.param({}, "terminationGracePeriodSeconds", 40, id="default-grace-period"),
    pytest.param({}, "enableServiceLinks", False, id="no-service-links"),
    pytest.param({}, "automountServiceAccountToken", False, id="no-api-token"),
    pytest.param({"sharedMemory": "1Gi"}, "volumes.shm.emptyDir.sizeLimit", "1Gi", id="shared-memory"),
    pytest.param({"tokenSecret": "t"}, "volumes.token.secret.secretName", "t", id="token"),
]


@pytest.mark.parametrize("target", ["kserve", "lws"])
@pytest.mark.parametrize(("fields", "path", "value"), _IN_POD)
def test_pod_field_of_head_and_worker(
    fields: dict[str, Any], path: str, value: object, target: Target
) -> None:
    made = service(fields, target)
    for pod in _POD[target]:
        assert at(made, f"{pod}.{path}") == value


_IN_CONTAINER = [
    pytest.param({}, "resources.requests.nvidia~com/gpu", "4", id="gpu-requests"),
    pytest.param({}, "resources.limits.nvidia~com/gpu", "4", id="gpu-limits"),
    pytest.param({"accelerator": {"type": "amd"}}, "resources.limits.amd~com/gpu", "4", id="amd"),
    pytest.param({"accelerator": {"type": "gaudi"}}, "resources.requests.habana~ai/gaudi", "4", id="gaudi"),
    pytest.param(
        {
            "resources": {"cpu": 8, "memory": "64Gi", "ephemeralStorage": "9Gi"},
            "accelerator": {"type": "amd"},
        },
        "resources.requests",
        {"cpu": "8", "memory": "64Gi", "ephemeral-storage": "9Gi", "amd.com/gpu": "4"},
        id="requests",
    ),
    pytest.param(
        {"resources": {"cpuLimit": 8, "memoryLimit": "64Gi", "other": {"hugepages-2Mi": "1Gi"}}},
        "resources.limits",
        {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "4", "hugepages-2Mi": "1Gi"},
        id="limits",
    ),
    pytest.param({"image": "i:1"}, "image", "i:1", id="image"),
    pytest.param({"env": {"A": 1}}, "env.A.value", "1", id="env"),
    pytest.param(
        {"env": {"A": {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}}},
        "env.A.valueFrom",
        {"secretKeyRef": {"name": "s", "key": "k"}},
        id="env-from-secret",
    ),
    pytest.param(
        {"tokenSecret": {"name": "t", "key": "k"}},
        "env.MULTINODE_TOKEN_FILE.value",
        "/run/secrets/multinode/k",
        id="token-file",
    ),
    pytest.param(
        {"tokenSecret": "t"}, "volumeMounts.token.mountPath", "/run/secrets/multinode", id="token-mount"
    ),
    pytest.param({"drain": 100}, "env.MULTINODE_DRAIN_TIMEOUT.value", "100", id="drain"),
    pytest.param({"startup": 7200}, "env.MULTINODE_START_TIMEOUT.value", "7200", id="long-start"),
    pytest.param({"startup": 7200}, "startupProbe.failureThreshold", 720, id="startup"),
    pytest.param({"model": {"claim": "x", "size": "2000G"}}, "startupProbe.failureThreshold", 296, id="size"),
    pytest.param(
        {"network": {"rdma": {"resource": "rdma/hca", "count": 2, "env": {"NCCL_IB_HCA": "mlx5"}}}},
        "resources.limits.rdma/hca",
        "2",
        id="rdma",
    ),
    pytest.param(
        {"network": {"rdma": {"resource": "rdma/hca", "env": {"NCCL_IB_HCA": "mlx5"}}}},
        "env.NCCL_IB_HCA.value",
        "mlx5",
        id="rdma-env",
    ),
    pytest.param(
        {
            "network": {"rdma": {"resource": "rdma/hca", "ipcLock": True}},
            "securityContext": {"capabilities": {"add": ["SYS_NICE"]}},
        },
        "securityContext.capabilities.add",
        ["SYS_NICE", "IPC_LOCK"],
        id="ipc-lock",
    ),
    pytest.param(
        {"securityContext": {"runAsUser": 7}}, "securityContext.runAsUser", 7, id="security-context"
    ),
    pytest.param(
        {"accelerator": {"type": "none", "perNode": 1}, "executor": "ray"},
        "env.MULTINODE_ACCELERATOR.value",
        "cpu",
        id="cpu",
    ),
]


@pytest.mark.parametrize("target", ["kserve", "lws"])
@pytest.mark.parametrize(("fields", "path", "value"), _IN_CONTAINER)
def test_container_field_of_head_and_worker(
    fields: dict[str, Any], path: str, value: object, target: Target
) -> None:
    made = service(fields, target)
    for container in _CONTAINER[target]:
        assert at(made, f"{container}.{path}") == value


@pytest.mark.parametrize(
    ("fields", "path", "value"),
    [
        pytest.param({}, "spec.predictor.model.storageUri", "pvc://x", id="claim"),
        pytest.param(
            {"model": {"claim": "x", "path": "a/b"}},
            "spec.predictor.model.storageUri",
            "pvc://x/a/b",
            id="path",
        ),
        pytest.param(
            {"model": {"oci": "oci://r/m:1"}}, "spec.predictor.model.storageUri", "oci://r/m:1", id="oci"
        ),
        pytest.param({}, "spec.predictor.model.runtime", "vllm-multinode-mp", id="runtime"),
        pytest.param(
            {"executor": "ray"}, "spec.predictor.model.runtime", "vllm-multinode-ray", id="ray-runtime"
        ),
        pytest.param({"runtime": "r"}, "spec.predictor.model.runtime", "r", id="runtime-by-name"),
        pytest.param({}, "spec.predictor.workerSpec.tensorParallelSize", 4, id="tensor"),
        pytest.param({}, "spec.predictor.workerSpec.pipelineParallelSize", 2, id="pipeline"),
        pytest.param({}, "spec.predictor.deploymentStrategy.type", "Recreate", id="recreate"),
        pytest.param(
            {"deploymentStrategy": "RollingUpdate"},
            "spec.predictor.deploymentStrategy.type",
            "RollingUpdate",
            id="rolling",
        ),
        pytest.param({"namespace": "n"}, "metadata.namespace", "n", id="namespace"),
        pytest.param({"labels": {"a": "b"}}, "metadata.labels.a", "b", id="labels"),
        pytest.param({"annotations": {"a": True}}, "metadata.annotations.a", "true", id="annotations"),
        pytest.param(
            {"network": {"attachments": ["p", "q"]}},
            "metadata.annotations.k8s~v1~cni~cncf~io/networks",
            "p,q",
            id="attachments",
        ),
        pytest.param(
            {
                "accelerator": {"type": "intel", "perNode": 1},
                "executor": "ray",
                "network": {"rdma": {"resource": "rdma/a"}},
                "resources": {"other": {"hugepages-2Mi": "1Gi"}},
            },
            "metadata.annotations.serving~kserve~io/gpu-resource-types",
            '["gpu.intel.com/i915", "rdma/a", "hugepages-2Mi"]',
            id="resources-kserve-must-be-told-of",
        ),
        pytest.param(
            {}, "metadata.annotations.serving~kserve~io/gpu-resource-types", None, id="nothing-to-tell"
        ),
        pytest.param({}, "spec.predictor.workerSpec.containers.0.args", None, id="no-arguments-for-workers"),
    ],
)
def test_field_of_the_service(fields: dict[str, Any], path: str, value: object) -> None:
    assert at(service(fields), path) == value


@pytest.mark.parametrize("target", ["kserve", "lws"])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"context": 5}, ["--max-model-len=5"], id="context"),
        pytest.param(
            {"model": {"claim": "x", "servedName": "n"}}, ["--served-model-name=n"], id="served-name"
        ),
        pytest.param(
            {
                "arguments": {
                    "a_b": 1,
                    "on": True,
                    "off": False,
                    "many": [1, 2],
                    "map": {"k": 1},
                    "config": "f",
                }
            },
            ["--a-b=1", "--on", "--no-off", "--many", "1", "2", '--map={"k":1}', "--config", "f"],
            id="mapping",
        ),
        pytest.param({"arguments": ["--a", 1]}, ["--a", "1"], id="list"),
        pytest.param({"replicas": 2}, ["--served-model-name=a"], id="one-name-for-all-replicas"),
    ],
)
def test_arguments_are_the_heads(fields: dict[str, Any], expected: list[str], target: Target) -> None:
    head, worker = _CONTAINER[target]
    made = service(fields, target)
    given = at(made, f"{head}.args")
    assert given[given[0] == "head" :] == expected
    assert at(made, f"{worker}.args") in (None, ["worker"])


def test_role_differs() -> None:
    fields = {
        "placement": {"schedulerName": "s", "worker": {"schedulerName": "w"}, "head": {"tolerations": []}}
    }
    made = service(fields)
    assert at(made, "spec.predictor.schedulerName") == "s"
    assert at(made, "spec.predictor.workerSpec.schedulerName") == "w"


def test_spread_counts_the_groups_own_pods() -> None:
    fields = {"placement": {"topologySpreadConstraints": [{"topologyKey": "zone"}]}}
    constraint = at(service(fields), "spec.predictor.workerSpec.topologySpreadConstraints.0")
    assert constraint == {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"serving.kserve.io/inferenceservice": "a"}},
    }


def test_nothing_that_says_nothing() -> None:
    """No null, no empty list, no empty mapping but an emptyDir."""
    meant = (".apiGroups.0", ".policy-group.network.openshift.io/host-network")
    for target in ("kserve", "lws"):
        spec = DeploymentSpec.model_validate(_LEAST)
        for body in render(spec, target=target).documents:
            assert [path for path in _empty(body) if not path.endswith(meant)] == []


def _empty(value: object, path: str = "") -> Any:
    if isinstance(value, dict | list):
        if not value:
            yield path
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _empty(item, f"{path}.{key}")
    elif value is None or value == "":
        yield path
