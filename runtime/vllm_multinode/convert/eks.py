"""AI-on-EKS: values of its inference-charts, for the frameworks lws-vllm and ray-vllm.

Fields as awslabs/ai-on-eks has them in blueprints/inference/inference-charts.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.authoring.planned_nodes import EFA
from vllm_multinode.convert import engine_arguments, environment, hardware, pods
from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.engine_arguments import shown
from vllm_multinode.convert.record import Path, Record

_FRAMEWORKS: Final = ("lws-vllm", "ray-vllm")
_SERVER: Final[Path] = ("inference", "modelServer")
_DEPLOYMENT: Final[Path] = (*_SERVER, "deployment")
_CHART: Final = "It is a setting of the chart's own helpers."
_OTHERS: Final[Mapping[str, str]] = {
    "global": _CHART,
    "fluentbit": "The cluster's own log collector reads the pods' logs.",
    "service": "KServe creates the Services.",
    "ingress": "Set publish in the spec.",
    "huggingface": _CHART,
    "nameOverride": _CHART,
    "fullnameOverride": _CHART,
}


def is_kind(body: Mapping[str, Any]) -> bool:
    """Whether a document is a chart's values of this shape."""
    if body.get("apiVersion") or body.get("kind"):
        return False
    return isinstance(body.get("inference"), Mapping) and ("model" in body or "modelParameters" in body)


def convert(record: Record) -> list[Draft]:
    """The service of a values file."""
    framework = record.get("inference", "framework")
    if framework not in _FRAMEWORKS:
        known = " and ".join(_FRAMEWORKS)
        why = f"The framework {shown(framework)} serves on one node; {known} are the ones that span several."
        record.refused(("inference", "framework"), why)
        return []
    if record.get("inference", "accelerator") not in (None, "gpu"):
        why = (
            f"{shown(record.get('inference', 'accelerator'))} needs vLLM for Neuron, which is not supported."
        )
        record.refused(("inference", "accelerator"), why)
        return []
    draft = Draft(str(record.get("inference", "serviceName") or "inference"))
    record.changed(
        ("inference", "framework"), "executor", "vLLM's own multi-node executor, in KServe's pods."
    )
    if record.get("inference", "accelerator") is not None:
        record.carried(("inference", "accelerator"), "accelerator.type")
    record.changed(("inference", "serviceName"), "name", "It names the service.")
    if isinstance(record.get("inference", "serviceNamespace"), str):
        draft.set("namespace", record.get("inference", "serviceNamespace"))
        record.carried(("inference", "serviceNamespace"), "namespace")
    _model(record, draft)
    _deployment(record, draft, ray=framework == "ray-vllm")
    environment.take_mapping(record, draft, (*_SERVER, "env"))
    _others(record, draft)
    parameters = record.get("modelParameters")
    if isinstance(parameters, Mapping):
        engine_arguments.from_mapping(record, draft, ("modelParameters",), parameters)
    per_node = draft.get("accelerator.perNode")
    if draft.get("parallelism.tensor") is None and per_node and framework == "lws-vllm":
        draft.set("parallelism.tensor", per_node)
        draft.notes.append(f"TP {per_node}: the chart's default is the number of GPUs per node.")
    return [draft]


def _model(record: Record, draft: Draft) -> None:
    model = record.get("model")
    if not isinstance(model, str) or not model:
        record.refused(("model",), "It names no model.")
        return
    record.answer(("model",), *engine_arguments.model(draft, model))
    if str(draft.get("model.source")).startswith("hf://"):
        environment.hub_secret(draft, "hf-token")
        draft.notes.append("The chart reads the Secret hf-token, key token; the fetch Job reads the same.")
    copied = record.get("s3ModelCopy", "s3Path")
    if isinstance(copied, str) and copied:
        draft.set("model.source", re.sub(r"^(s3://)?", "s3://", copied).rstrip("/"))
        record.changed(("s3ModelCopy", "s3Path"), "model.source", "The fetch Job reads the copy in S3.")
        draft.set("model.sourceSecret", "s3-access")
        draft.todo(
            "Create the Secret s3-access with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for the bucket."
        )
    job = "The Job that copies to S3 is not needed: the claim is filled once."
    record.replace(
        ("s3ModelCopy",), dict.fromkeys(("model", "namespace", "instanceType", "serviceAccountName"), job)
    )


def _deployment(record: Record, draft: Draft, *, ray: bool) -> None:
    _replicas(record, draft, ray=ray)
    hardware.take_resources(record, draft, (*_DEPLOYMENT, "resources", "gpu"))
    _efa(record, draft)
    record.drop((*_DEPLOYMENT, "resources"), {"neuron": "The accelerator is a GPU."})
    shape = record.get(*_DEPLOYMENT, "instanceType")
    if isinstance(shape, str) and shape.strip():
        hardware.take_shape(record, draft, (*_DEPLOYMENT, "instanceType"), shape.strip())
    _topology(record, draft)
    record.replace(
        _DEPLOYMENT, dict.fromkeys(("startupProbe", "readinessProbe", "livenessProbe"), pods.PROBES)
    )
    failures = record.get(*_DEPLOYMENT, "startupProbe", "failureThreshold")
    period = record.get(*_DEPLOYMENT, "startupProbe", "periodSeconds")
    if isinstance(failures, int) and isinstance(period, int) and failures * period >= 10:
        draft.set("startup", failures * period)
        for name in ("failureThreshold", "periodSeconds"):
            why = f"{failures * period} seconds to start, in total."
            record.changed((*_DEPLOYMENT, "startupProbe", name), "startup", why)


def _replicas(record: Record, draft: Draft, *, ray: bool) -> None:
    path = (*_DEPLOYMENT, "replicas")
    replicas = record.count(*path)
    if replicas:
        if ray:
            draft.nodes = replicas
            why = "Ray's workers are the nodes; its head has no GPU."
            record.changed(path, "parallelism.nodes", why)
        else:
            draft.set("replicas", replicas)
            record.carried(path, "replicas")
    elif record.get(*path) is not None:
        record.not_carried(path, "It is not a number of groups.")
    scales = "KServe does not scale multi-node services."
    record.drop(_DEPLOYMENT, {"minReplicas": scales, "maxReplicas": scales})


def _efa(record: Record, draft: Draft) -> None:
    base = (*_DEPLOYMENT, "resources", "efa")
    wanted = record.get("inference", "awsEfa")
    amounts = record.get(*base)
    count = record.get(*base, "limits", EFA) or record.get(*base, "requests", EFA)
    if wanted and isinstance(count, int):
        draft.set("network.rdma.resource", EFA)
        draft.set("network.rdma.count", count)
        draft.set("network.rdma.env", {"FI_PROVIDER": "efa", "FI_EFA_USE_DEVICE_RDMA": "1"})
        record.carried(base, "network.rdma")
        record.carried(("inference", "awsEfa"), "network.rdma")
        draft.todo("Name an image with the EFA libraries (aws-ofi-nccl) as image: vLLM's own has none.")
    else:
        if amounts is not None:
            record.not_carried(base, "awsEfa is not set, so the chart does not request it either.")
        if wanted is not None:
            why = "The source does not give the number of EFA devices." if wanted else "Without EFA."
            (record.not_carried if wanted else lambda p, w: record.changed(p, "", w))(
                ("inference", "awsEfa"), why
            )


def _topology(record: Record, draft: Draft) -> None:
    spread = (*_DEPLOYMENT, "topologySpreadConstraints")
    constraints = record.get(*spread, "constraints")
    enabled = record.get(*spread, "enabled")
    for index, one in enumerate(constraints if isinstance(constraints, list) else []):
        if enabled and isinstance(one, Mapping):
            kept = {key: value for key, value in one.items() if key != "labelSelector"}
            draft.add("placement.topologySpreadConstraints", kept)
            why = "The group's own pods count, as the chart intends."
            record.changed((*spread, "constraints", index), "placement.topologySpreadConstraints", why)
        else:
            record.not_carried((*spread, "constraints", index), "It is not enabled.")
    if enabled is not None:
        record.changed((*spread, "enabled"), "placement.topologySpreadConstraints", "Whether there are any.")
    affinity = (*_DEPLOYMENT, "podAffinity")
    if record.get(*affinity) is not None:
        record.not_carried(
            affinity, "Its selector is filled in by the chart; set placement for your own labels."
        )


def _others(record: Record, draft: Draft) -> None:
    image = (*_SERVER, "image")
    if record.get(*image) is not None:
        why = "The launcher runs in vLLM's released image; if yours contains something more, set image to it."
        record.changed(image, "image", why)
    if isinstance(record.get("serviceAccountName"), str) and record.get("serviceAccountName") != "default":
        draft.set("serviceAccountName", record.get("serviceAccountName"))
        record.carried(("serviceAccountName",), "serviceAccountName")
    elif record.get("serviceAccountName") is not None:
        record.changed(("serviceAccountName",), "", "The namespace's default.")
    record.drop((), _OTHERS)
    record.replace(("inference",), {"rayOptions": "There is no Ray cluster."})
    record.drop(("vllm",), dict.fromkeys(("loadFormat", "logLevel", "port"), "It is for other frameworks."))
