"""Objects as people write them, and as controllers make them."""

from typing import Any

from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.spec import DeploymentSpec

Object = dict[str, Any]


def runtime(name: str = "vllm-multinode-ray", image: str = "example.com/vllm-multinode:1") -> Object:
    """A ServingRuntime."""
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": name},
        "spec": {
            "supportedModelFormats": [{"name": "vLLM"}],
            "containers": [{"name": "kserve-container", "image": image}],
            "workerSpec": {},
        },
    }


def claim(name: str = "models") -> Object:
    """A claim."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "200Gi"}}},
    }


def service(name: str = "llm", strategy: str = "Recreate", **model: Any) -> Object:
    """An InferenceService over several nodes."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {
            "predictor": {
                "deploymentStrategy": {"type": strategy},
                "model": {
                    "modelFormat": {"name": "vLLM"},
                    "runtime": "vllm-multinode-ray",
                    "storageUri": "pvc://models/llm",
                    **model,
                },
                "workerSpec": {"tensorParallelSize": 1, "pipelineParallelSize": 2},
            }
        },
    }


def leader_worker_set(name: str = "llm", **spec: Any) -> Object:
    """A LeaderWorkerSet."""
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": name},
        "spec": {"replicas": 1, "leaderWorkerTemplate": {"size": 2}, **spec},
    }


def controller(
    image: str = "kserve/kserve-controller:v0.19.0", namespace: str = "kserve", *, available: int = 1
) -> Object:
    """KServe's controller."""
    name = "kserve-controller-manager"
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"control-plane": name}},
        "spec": {"template": {"spec": {"containers": [{"name": "manager", "image": image}]}}},
        "status": {"availableReplicas": available},
    }


def pod(name: str = "llm-predictor-0", *, role: str = "head", generation: int = 1, **status: Any) -> Object:
    """A pod as KServe's Deployments make them; its status as a kubelet writes it."""
    suffix = "" if role == "head" else "-worker"
    labels = {
        "serving.kserve.io/inferenceservice": "llm",
        "app": f"isvc.llm-predictor{suffix}",
        "isvc.generation": str(generation),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "demo", "labels": labels, "uid": f"uid-{name}"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "kserve-container", "env": []}]},
        "status": {"phase": "Pending", **status},
    }


def running(name: str = "llm-predictor-0", *, ready: bool = True, **more: Any) -> Object:
    """A pod whose container runs."""
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    states = [{"name": "kserve-container", "ready": ready, "started": True, "state": {"running": {}}}]
    return pod(name, phase="Running", conditions=conditions, containerStatuses=states, **more)


def waiting(reason: str, message: str = "", **container: Any) -> Object:
    """A pod whose container does not run."""
    entry = {
        "name": "kserve-container",
        "image": "example.com/vllm-multinode:1",
        "ready": False,
        "state": {"waiting": {"reason": reason, "message": message}},
        **container,
    }
    return pod(containerStatuses=[entry])


def event(reason: str, message: str, about: Object, kind: str = "Warning") -> Object:
    """An event about an object."""
    metadata = about["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{reason.lower()}", "namespace": "demo"},
        "involvedObject": {"kind": about["kind"], "name": metadata["name"], "uid": metadata.get("uid")},
        "type": kind,
        "reason": reason,
        "message": message,
        "lastTimestamp": "2026-01-01T00:00:10Z",
    }


def head_says(state: str = "serving", reason: str = "") -> Object:
    """A head's /status."""
    members = [
        {"name": "llm-predictor-0", "rank": 0, "state": state},
        {"name": "llm-predictor-worker-0", "rank": 1, "state": state},
    ]
    return {"state": state, "reason": reason, "nodes": 2, "members": members}


def with_status(body: Object, ready: str = "False", **status: Any) -> Object:
    """A service that its controller has looked at."""
    conditions = [{"type": "PredictorReady", "status": ready}, {"type": "Ready", "status": ready}]
    metadata = {"generation": 1, "uid": "uid-llm", **body["metadata"]}
    found = {"observedGeneration": 1, "conditions": conditions, **status}
    return {**body, "metadata": metadata, "status": found}


def fetching(source: str = "hf://org/llm", **model: Any) -> list[dict[str, Any]]:
    """What a service of two nodes, whose model comes from a source, is rendered to."""
    spec = {
        "name": "llm",
        "model": {"source": source, "size": "10Gi", **model},
        "parallelism": {"pipeline": 2},
        "tokenSecret": False,
    }
    return render(DeploymentSpec.model_validate(spec)).documents
