"""Files that serve models in another way than one engine over KServe's or LeaderWorkerSet's pods.

Nothing in them is checked. A user who brings one is told what it is, and what to do instead.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from vllm_multinode.contract.labels import MANAGED_BY, MANAGER
from vllm_multinode.k8s.access import at, listed, mapping, number
from vllm_multinode.k8s.documents import Document

DATA_PARALLEL: Final = (
    "a group is one engine; data and expert parallelism over nodes go through KServe's LLMInferenceService "
    "or a LeaderWorkerSet of llm-d"
)
_RENDER: Final = "`multinode plan MODEL -o spec` writes a spec, and `multinode render` the manifests of one."

_ROUTER: Final = re.compile(r"[^\s'\"]*vllm-router[^\s'\"]*")

Body = Mapping[str, Any]


class Foreign(NamedTuple):
    """What a file is, and what to do instead; each one sentence or two."""

    kind: str
    sentence: str
    hint: str


def foreign(document: Document) -> Foreign | None:
    """What an object is that serves models in another way; None for everything else."""
    if not document.kind:
        return _untyped(document.body)
    group = document.api_version.rpartition("/")[0]
    describe = _KINDS.get((group, document.kind)) or _GROUPS.get(group)
    return describe(document) if describe is not None else None


def _llm_service(document: Document) -> Foreign:
    parallelism = mapping(document.body, "spec", "parallelism")
    stages = number(parallelism, "pipeline") or 1
    tensor = number(parallelism, "tensor") or 1
    data = number(parallelism, "data") or 1
    what = f"{document.kind} is KServe's other kind for language models and is not checked here"
    if data > 1 or parallelism.get("expert"):
        sentence = (
            f"{what}; it is meant for data and expert parallelism over nodes, which workerSpec does not "
            "support."
        )
        hint = (
            "Keep it, or use a LeaderWorkerSet of llm-d; for one engine of TP x PP write an InferenceService."
        )
    elif stages > 1 or tensor > 1:
        sentence = (
            f"{what}; up to KServe v0.20 it creates no engine that spans nodes: there is no preset for "
            "pipeline parallelism (kserve#5047), and tensor parallelism over "
            "pods creates one pod (kserve#4946)."
        )
        hint = f"An InferenceService with a workerSpec carries TP {tensor} x PP {stages}: {_RENDER}"
    else:
        sentence = f"{what}; one engine over several nodes is an InferenceService with a workerSpec."
        hint = f"Keep it for models that fit on one node. {_RENDER}"
    return Foreign(document.kind, sentence, hint)


def _ray(document: Document) -> Foreign:
    body = document.body
    groups = listed(body, "spec", "rayClusterConfig", "workerGroupSpecs") or listed(
        body, "spec", "workerGroupSpecs"
    )
    count = f" with {len(groups)} group{'s' if len(groups) != 1 else ''} of workers" if groups else ""
    sentence = (
        f"{document.kind} is KubeRay's{count}: its operator starts Ray and Ray Serve the engine; it is "
        "not checked here."
    )
    return Foreign(document.kind, sentence, f"Keep it with KubeRay, or replace Ray Serve: {_RENDER}")


def _kaito(document: Document) -> Foreign:
    sentence = (
        f"{document.kind} is KAITO's, whose operator creates nodes and pods from it; it is not checked here."
    )
    return Foreign(document.kind, sentence, f"Keep it with KAITO, or serve the model with KServe: {_RENDER}")


def _of(owner: str) -> Callable[[Document], Foreign]:
    def describe(document: Document) -> Foreign:
        sentence = f"{document.kind} is {owner}'s and is not checked here."
        return Foreign(document.kind, sentence, f"Keep it with {owner}, or serve with KServe: {_RENDER}")

    return describe


def _workload(document: Document) -> Foreign | None:
    """A workload that starts vLLM without KServe or LeaderWorkerSet."""
    text = str(
        at(document.body, "spec", "template", "spec", "containers") or at(document.body, "spec", "containers")
    )
    # A router before engines runs none.
    text = _ROUTER.sub("", text)
    ours = at(document.body, "spec", "template", "metadata", "labels", MANAGED_BY) == MANAGER
    if "vllm" not in text or ours:
        return None
    sentence = (
        f"{document.kind} starts vLLM by itself, without KServe or LeaderWorkerSet, and is not checked here."
    )
    return Foreign(document.kind, sentence, f"For one engine over several nodes: {_RENDER}")


_KINDS: Final[Mapping[tuple[str, str], Callable[[Document], Foreign | None]]] = {
    ("serving.kserve.io", "LLMInferenceService"): _llm_service,
    ("serving.kserve.io", "LLMInferenceServiceConfig"): _llm_service,
    ("apps", "Deployment"): _workload,
    ("apps", "StatefulSet"): _workload,
    ("apps", "DaemonSet"): _workload,
    ("batch", "Job"): _workload,
    ("", "Pod"): _workload,
    ("helm.toolkit.fluxcd.io", "HelmRelease"): _of("Flux"),
    ("argoproj.io", "Application"): _of("Argo CD"),
}
_GROUPS: Final[Mapping[str, Callable[[Document], Foreign | None]]] = {
    "ray.io": _ray,
    "kaito.sh": _kaito,
    "nvidia.com": _of("NVIDIA Dynamo"),
    "apps.nvidia.com": _of("the NIM operator"),
    "orchestration.aibrix.ai": _of("AIBrix"),
    "inference.networking.k8s.io": _of("the Gateway API inference extension"),
    "inference.networking.x-k8s.io": _of("the Gateway API inference extension"),
    "llm-d.ai": _of("llm-d"),
    "kubeflow.org": _of("Kubeflow"),
    "trainer.kubeflow.org": _of("Kubeflow"),
    "jobset.x-k8s.io": _of("JobSet"),
    "workload.codeflare.dev": _of("CodeFlare"),
    "machinelearning.seldon.io": _of("Seldon"),
    "mlops.seldon.io": _of("Seldon"),
}


class _Shape(NamedTuple):
    """A file that is not a Kubernetes object, known by keys at its root."""

    keys: frozenset[str]
    what: str
    hint: str


_HELM_HINT: Final = "Check the rendered chart: helm template CHART -f FILE | multinode validate -f -"
_SHAPES: Final = (
    _Shape(
        frozenset({"recipe_id", "recipe_mode", "recipe_image_uri"}),
        "is a blueprint of OCI AI Blueprints, a request to its own API, and is not checked here.",
        f"Keep it with OCI AI Blueprints, or serve with KServe: {_RENDER}",
    ),
    _Shape(
        frozenset({"servingEngineSpec", "routerSpec", "cacheserverSpec"}),
        "contains values of vLLM's production-stack, a Helm chart, not a Kubernetes object.",
        _HELM_HINT,
    ),
    _Shape(
        frozenset({"modelArtifacts", "decode", "prefill"}),
        "contains values of llm-d's model service, a Helm chart, not a Kubernetes object.",
        _HELM_HINT,
    ),
    _Shape(
        frozenset({"services", "volumes", "networks", "x-common"}),
        "is a Compose file, not a Kubernetes object.",
        _RENDER,
    ),
    _Shape(
        frozenset(
            {
                "image", "replicaCount", "nodeSelector", "tolerations", "affinity", "autoscaling", "ingress",
                "fullnameOverride", "nameOverride", "global", "serviceAccount", "podAnnotations", "modelSpec",
                "raySpec", "extraEnv", "persistence", "service", "podSecurityContext", "imagePullSecrets",
            }
        ),
        "looks like a Helm chart's values, which are not Kubernetes objects.",
        _HELM_HINT,
    ),
    _Shape(
        frozenset({"apiVersion", "appVersion", "dependencies", "maintainers"}),
        "looks like a chart's Chart.yaml, and is not a Kubernetes object.",
        "Check the rendered chart: helm template CHART | multinode validate -f -",
    ),
)  # fmt: skip


def _untyped(body: Body) -> Foreign | None:
    keys = set(body)
    if {"name", "version"} <= keys and {"apiVersion", "appVersion"} & keys:
        shape = _SHAPES[-1]
        return Foreign("", shape.what, shape.hint)
    for shape in _SHAPES:
        if shape.keys & keys:
            return Foreign("", shape.what, shape.hint)
    return None
