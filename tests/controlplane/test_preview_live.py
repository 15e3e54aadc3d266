"""The preview is what the live controller makes: one variation of a service after the other."""

import copy
import random
from typing import Any, Final

import pytest

from controlplane.plane.kubectl import Kubectl, KubectlError
from controlplane.plane.running import Plane
from engine.services import eventually
from kserve_inputs import Body, gpus, runtime, service
from kserve_objects import differences
from vllm_multinode.authoring.preview import Preview, preview
from vllm_multinode.contract.finding import Finding
from vllm_multinode.platforms.kserve.simulate import simulate

_WEBHOOK: Final = "KServe rejects it: "
_KINDS: Final = "deployments,services,pods,horizontalpodautoscalers,configmaps"
_RECREATE: Final[Body] = {"type": "Recreate"}
_TOLERATION: Final[Body] = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}
_AFFINITY: Final[Body] = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]
        }
    }
}
_SPREAD: Final[Body] = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
_POD: Final[Body] = {
    "serviceAccountName": "default",
    "enableServiceLinks": False,
    "terminationGracePeriodSeconds": 120,
    "hostIPC": True,
    "dnsPolicy": "Default",
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
    "automountServiceAccountToken": False,
    "securityContext": {"fsGroup": 7, "sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "9 99"}]},
    "imagePullSecrets": [{"name": "pull"}],
    "topologySpreadConstraints": [{**_SPREAD, "labelSelector": {"matchLabels": {"a": "b"}}}],
}
_PROBE: Final[Body] = {"httpGet": {"path": "/live", "port": 8081}, "failureThreshold": 9}


def _worker(count: int = 0, resource: str = "nvidia.com/gpu", **fields: Any) -> Body:
    asked = {"resources": gpus(count, resource)} if count else {}
    return {"name": "worker-container", **asked, **fields}


# name -> changes of the ServingRuntime, changes of the InferenceService
VARIATIONS: Final[dict[str, tuple[Body, Body]]] = {
    "plain": ({}, {}),
    "tp8-pp2-of-8-gpus": (
        {},
        {"model": {"resources": gpus(8)}, "worker": {"tensorParallelSize": 8, "containers": [_worker(8)]}},
    ),
    "head-2-workers-3": (
        {},
        {
            "model": {"resources": gpus(2)},
            "worker": {"tensorParallelSize": 4, "pipelineParallelSize": 2, "containers": [_worker(3)]},
        },
    ),
    "only-the-head-names-gpus": ({}, {"model": {"resources": gpus(2)}, "worker": {"tensorParallelSize": 2}}),
    "only-workers-name-gpus": ({}, {"worker": {"tensorParallelSize": 3, "containers": [_worker(2)]}}),
    "one-node": (
        {},
        {"model": {"resources": gpus(4)}, "worker": {"tensorParallelSize": 2, "containers": [_worker(2)]}},
    ),
    "one-node-by-worker": (
        {},
        {"worker": {"tensorParallelSize": 2, "pipelineParallelSize": 1, "containers": [_worker(2)]}},
    ),
    "limits-alone": ({}, {"model": {"resources": {"limits": {"nvidia.com/gpu": "4"}}}}),
    "limit-above-request": (
        {},
        {
            "model": {
                "resources": {
                    "limits": {"cpu": "9", "nvidia.com/gpu": "4"},
                    "requests": {"cpu": "0.5", "nvidia.com/gpu": "1"},
                }
            }
        },
    ),
    "too-few-gpus": (
        {},
        {
            "model": {"resources": gpus(1)},
            "worker": {"tensorParallelSize": 8, "pipelineParallelSize": 1, "containers": [_worker(4)]},
        },
    ),
    "amd": (
        {},
        {
            "model": {"resources": gpus(2, "amd.com/gpu")},
            "worker": {"tensorParallelSize": 2, "containers": [_worker(2, "amd.com/gpu")]},
        },
    ),
    "gaudi-and-intel": (
        {},
        {
            "model": {"resources": gpus(1, "habana.ai/gaudi")},
            "worker": {"containers": [_worker(1, "intel.com/gpu")]},
        },
    ),
    "a-foreign-gpu": (
        {},
        {
            "model": {"resources": gpus(2, "a.com/gpu")},
            "worker": {"tensorParallelSize": 2, "containers": [_worker(2, "a.com/gpu")]},
            "annotations": {"serving.kserve.io/gpu-resource-types": '["a.com/gpu"]'},
        },
    ),
    "another-type-than-the-runtime": (
        {"head": {"resources": gpus(1)}, "worker": {"resources": gpus(1)}},
        {
            "model": {"resources": gpus(1, "amd.com/gpu")},
            "worker": {"containers": [_worker(1, "amd.com/gpu")]},
        },
    ),
    "quantities": (
        {
            "head": {
                "resources": {
                    "limits": {"cpu": 4, "memory": "1024Mi"},
                    "requests": {"cpu": "1500m", "memory": "0.5Gi"},
                }
            }
        },
        {},
    ),
    "mp": ({"annotations": {"multinode/executor-backend": "mp"}}, {"worker": {"tensorParallelSize": 2}}),
    "mp-on-the-service": (
        {},
        {"annotations": {"multinode/executor-backend": "mp"}, "worker": {"tensorParallelSize": 2}},
    ),
    "pod-fields-of-the-head": ({}, _POD),
    "pod-fields-of-workers": ({}, {"worker": _POD}),
    "pod-fields-on-the-runtime": ({**_POD, "schedulerName": "kueue"}, {}),
    "placement": (
        {"tolerations": [{"key": "a", "operator": "Exists"}], "nodeSelector": {"a": "1", "b": "2"}},
        {
            "tolerations": [_TOLERATION],
            "nodeSelector": {"b": "3"},
            "affinity": _AFFINITY,
            "worker": {"tolerations": [_TOLERATION], "nodeSelector": {"c": ""}},
        },
    ),
    "volumes": (
        {},
        {
            "volumes": [
                {"name": "cache", "emptyDir": {"sizeLimit": "1024Mi"}},
                {"name": "shm", "emptyDir": {"sizeLimit": "2Gi"}},
            ],
            "model": {
                "volumeMounts": [
                    {"name": "cache", "mountPath": "/cache"},
                    {"name": "cache", "mountPath": "/dev/shm", "readOnly": True},
                ]
            },
            "worker": {
                "volumes": [
                    {"name": "cm", "configMap": {"name": "cm", "items": [{"key": "a", "path": "b"}]}},
                    {"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}},
                ],
                "containers": [_worker(volumeMounts=[{"name": "cm", "mountPath": "/cm"}])],
            },
        },
    ),
    "a-volume-with-two-sources": ({}, {"volumes": [{"name": "shm", "hostPath": {"path": "/x"}}]}),
    "env-order": (
        {},
        {
            "model": {
                "env": [
                    {"name": "B", "value": "1"},
                    {"name": "A", "value": "2"},
                    {"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                ],
                "envFrom": [{"secretRef": {"name": "s"}}],
            },
            "worker": {"containers": [_worker(env=[{"name": "Z", "value": "1"}])]},
        },
    ),
    "env-that-kserve-sets": (
        {
            "worker": {
                "env": [{"name": "TENSOR_PARALLEL_SIZE", "value": "9"}, {"name": "HEAD_SVC", "value": "x"}]
            }
        },
        {"model": {"env": [{"name": "MODEL_NAME", "value": "mine"}, {"name": "MODEL_DIR", "value": "/x"}]}},
    ),
    "an-empty-value": ({}, {"model": {"env": [{"name": "A", "value": ""}]}}),
    "value-and-value-from": ({}, {"model": {"env": [{"name": "POD_IP", "value": "1.2.3.4"}]}}),
    "command-args-image": (
        {},
        {
            "model": {"command": ["run"], "args": ["-x"], "image": "new:2"},
            "worker": {"containers": [_worker(args=["-y"], command=["go"], image="new:3", workingDir="/w")]},
        },
    ),
    "probes": (
        {"head": {"livenessProbe": _PROBE, "startupProbe": _PROBE}},
        {
            "model": {
                "livenessProbe": {"periodSeconds": 3},
                "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
            }
        },
    ),
    "a-probe-of-two-kinds": (
        {"head": {"livenessProbe": _PROBE}},
        {"model": {"livenessProbe": {"exec": {"command": ["true"]}}}},
    ),
    "no-ports": ({"head": {"ports": None}}, {}),
    "ports": (
        {
            "head": {
                "ports": [{"containerPort": 8080, "name": "http"}, {"containerPort": 9000, "name": "h2c"}]
            }
        },
        {"model": {"ports": [{"containerPort": 7000, "name": "more"}]}},
    ),
    "ports-without-names": ({}, {"model": {"ports": [{"containerPort": 9000}]}}),
    "sidecars": (
        {"initContainers": [{"name": "i", "image": "i:1"}]},
        {
            "containers": [{"name": "proxy", "image": "p"}],
            "initContainers": [{"name": "wait", "image": "w:1"}],
            "worker": {"initContainers": [{"name": "wait", "image": "w:1"}]},
        },
    ),
    "a-transformer": (
        {},
        {
            "containers": [
                {
                    "name": "transformer-container",
                    "image": "t:1",
                    "ports": [{"containerPort": 8888, "name": "http"}],
                    "args": ["{{.Name}}"],
                }
            ]
        },
    ),
    "recreate": ({}, {"deploymentStrategy": _RECREATE}),
    "rolling-with-own-surge": (
        {},
        {
            "deploymentStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
            }
        },
    ),
    "a-strategy-without-type": ({}, {"deploymentStrategy": {"rollingUpdate": {"maxSurge": 2}}}),
    "min-replicas-2": ({}, {"minReplicas": 2}),
    "min-replicas-0": ({}, {"minReplicas": 0}),
    "oci": ({}, {"model": {"storageUri": "oci://r.com/m:1", "securityContext": {"privileged": False}}}),
    "a-claim-to-write-to": (
        {},
        {"model": {"storageUri": "pvc://a/b/c"}, "annotations": {"storage.kserve.io/readonly": "false"}},
    ),
    "a-claim-without-path": ({}, {"model": {"storageUri": "pvc://a"}}),
    "the-model-path-is-taken": (
        {},
        {"model": {"volumeMounts": [{"name": "shm", "mountPath": "/mnt/models"}]}},
    ),
    "labels-and-annotations": (
        {"labels": {"a": "runtime", "b": "runtime"}, "annotations": {"a": "runtime", "modelFormat": "x"}},
        {"labels": {"b": "predictor"}, "annotations": {"c": "service", "modelFormat": "y"}},
    ),
    "labels-of-workers": (
        {
            "workerSpec": {
                "labels": {"a": "w"},
                "annotations": {"a": "w", "modelFormat": "z"},
                "containers": [{"name": "worker-container", "image": "w:1"}],
            }
        },
        {},
    ),
    "placeholders": (
        {
            "head": {"args": ["{{.Name}}", "{{ .Namespace }}", "{{.Labels.no}}<{{.Annotations.no}}>"]},
            "worker": {"args": ["{{.Name}}"]},
        },
        {},
    ),
    "a-wrong-placeholder": ({"head": {"args": ["{{.Nope}}"]}}, {}),
    "a-chat-template": ({"head": {"args": ["{{ messages | length }}"]}}, {}),
    "runtime-version": ({}, {"model": {"runtimeVersion": "2"}}),
    "a-digest": ({"head": {"image": "a/b@sha256:" + "0" * 64}}, {"model": {"runtimeVersion": "2"}}),
    "auto-select": ({}, {"model": {"runtime": None}}),
    "another-format": ({}, {"model": {"modelFormat": {"name": "onnx"}}}),
    "an-unknown-runtime": ({}, {"model": {"runtime": "other"}}),
    "a-disabled-runtime": ({"disabled": True}, {}),
    "a-runtime-without-workers": ({"workerSpec": None}, {}),
    "another-worker-name": ({}, {"worker": {"containers": [{"name": "other"}]}}),
    "a-runtime-with-another-worker-name": ({"worker": {"name": "other"}}, {}),
    "a-runtime-with-another-head-name": ({"head": {"name": "other"}}, {}),
    "a-name-that-ends-in-predictor": ({}, {"name": "my-predictor"}),
    "a-long-name": ({}, {"name": "l" * 42}),
    "stopped": ({}, {"annotations": {"serving.kserve.io/stop": "true"}}),
    "pythonpath": ({}, {"model": {"env": [{"name": "PYTHONPATH", "value": "/x"}]}}),
    "tp-0": ({}, {"worker": {"tensorParallelSize": 0}}),
    "two-worker-containers": ({}, {"worker": {"containers": [_worker(), {"name": "b"}]}}),
    "s3": ({}, {"model": {"storageUri": "s3://b/p"}}),
    "hpa": ({}, {"annotations": {"serving.kserve.io/autoscalerClass": "hpa"}}),
    "two-implementations": ({}, {"containers": [{"name": "kserve-container", "image": "x"}]}),
    "an-unknown-gpu": ({}, {"model": {"resources": gpus(1, "x.com/gpu")}}),
    "a-strategy-with-an-old-mode-name": (
        {},
        {
            "deploymentStrategy": _RECREATE,
            "annotations": {"serving.kserve.io/deploymentMode": "RawDeployment"},
        },
    ),
    "standard": ({}, {"annotations": {"serving.kserve.io/deploymentMode": "Standard"}}),
}


def _both(one: Any, other: Any) -> Any:
    """Changes of two variations at once; where they contradict each other, the other's hold."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return other
    return {
        key: _both(one.get(key, other.get(key)), other.get(key, one.get(key))) for key in {**one, **other}
    }


def _combinations(number: int) -> dict[str, tuple[Body, Body]]:
    """Three variations at a time, the same ones in every run."""
    chance = random.Random(number)
    found = {}
    for _ in range(number):
        names = chance.sample(sorted(VARIATIONS), 3)
        changes: tuple[Body, Body] = ({}, {})
        for name in names:
            below, above = VARIATIONS[name]
            changes = (_both(changes[0], below), _both(changes[1], above))
        found["+".join(names)] = changes
    return found


CASES: Final = {**VARIATIONS, **_combinations(16)}


def bodies(name: str, version: str) -> list[Body]:
    """ServingRuntime and InferenceService of a case."""
    below, above = copy.deepcopy(CASES[name])
    return [runtime(**below), service(version=version, **above)]


@pytest.mark.parametrize("name", CASES)
def test_the_live_controller_makes_what_the_preview_says(name: str, plane: Plane, kubectl: Kubectl) -> None:
    version = plane.kserve.removeprefix("v")
    written = bodies(name, version)
    for body in written:
        body["metadata"]["namespace"] = kubectl.namespace
    found = preview(written, version)
    if _by_webhook(found):
        _refused(found, written, kubectl)
        return
    if name not in VARIATIONS and any(one.rule == "gpu-types-mixed" for one in found.findings):
        pytest.skip("two types of GPU, of which KServe counts either")
    _apply(kubectl, *written)
    last: list[str] = ["nothing was looked at"]

    def same() -> bool:
        last[:] = differences(found.objects, made(kubectl))
        return not last

    eventually(same, 20.0, lambda: "\n".join(last))


def _refused(found: Preview, written: list[Body], kubectl: Kubectl) -> None:
    """The webhook gives its first objection to each body; a preview shows all of them by their lines."""
    objections = simulate(written, found.release).findings
    for place, body in enumerate(written):
        shown = [one.message for one in _by_webhook(found) if one.kind == body["kind"]]
        if not shown:
            _apply(kubectl, body)
            continue
        with pytest.raises(KubectlError) as refused:
            _apply(kubectl, body)
        first = objections[place][0].message
        assert first in str(refused.value)
        assert any(first.rstrip(".") in message for message in shown)


def _by_webhook(found: Preview) -> list[Finding]:
    """What a webhook rejects; the rest is kubectl's strict check, which `_apply` does not ask for."""
    return [one for one in found.of("refused") if one.message.startswith(_WEBHOOK)]


def _apply(kubectl: Kubectl, *written: Body) -> None:
    """As a client does that asks for no strict check: a field that the schema does not know is dropped."""
    kubectl("create", "--validate=ignore", "-f", "-", documents=written)


def made(kubectl: Kubectl) -> list[dict[str, Any]]:
    """What the controllers have made in the namespace."""
    return [
        one
        for one in kubectl.list(_KINDS)
        if one["metadata"]["name"] not in ("kube-root-ca.crt", "kubernetes")
    ]
