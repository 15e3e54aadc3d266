"""Deployments, Services and autoscalers that KServe's controller makes of its pod specs.

Source: pkg/controller/v1beta1/inferenceservice/reconcilers/{deployment,service,hpa}, v0.14.1 to v0.20.0.
"""

from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.platforms import names
from vllm_multinode.platforms.kserve import agent, auth_proxy
from vllm_multinode.platforms.releases import Release
from vllm_multinode.platforms.simulation import Body

_SURGE: Final = {"maxUnavailable": "25%", "maxSurge": "25%"}
_WORKER_SURGE: Final = {"maxUnavailable": "0%", "maxSurge": "100%"}
_AGENT_PORT: Final = 9081
_H2C: Final = "kubernetes.io/h2c"


def metadata(
    service: Body, name: str, annotations: Mapping[str, str], labels: Mapping[str, str]
) -> dict[str, Any]:
    """Metadata of an object that belongs to the InferenceService."""
    made: Body = {"name": name}
    if service["metadata"].get("namespace"):
        made["namespace"] = service["metadata"]["namespace"]
    if labels:
        made["labels"] = dict(sorted(labels.items()))
    if annotations:
        made["annotations"] = dict(sorted(annotations.items()))
    made["ownerReferences"] = [
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "name": service["metadata"]["name"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    return made


def head_replicas(predictor: Mapping[str, Any], annotations: Mapping[str, str], release: Release) -> int:
    """Pods of the head's Deployment when it is created; an autoscaler may change them later."""
    least = predictor.get("minReplicas")
    is_fixed = annotations.get(names.AUTOSCALER_CLASS) == release.autoscaler_class
    return int(least) if least is not None and release.scales_head_by_min_replicas and is_fixed else 1


def strategy(predictor: Mapping[str, Any], release: Release, *, worker: bool) -> Body:
    """Strategy of a Deployment, with the API server's defaults for what KServe leaves open."""
    given = predictor.get("deploymentStrategy")
    made: Body = dict(given or {})
    known = made.get("type", "")
    if given is None or release.fills_in_strategy_type:
        known = known or "RollingUpdate"
    if worker and known == "RollingUpdate" and release.surges_workers:
        # KServe wants the old workers to stay until the new ones are ready.
        return {"type": known, "rollingUpdate": dict(_WORKER_SURGE)}
    made["type"] = known or "RollingUpdate"
    if made["type"] == "RollingUpdate":
        made["rollingUpdate"] = {**_SURGE, **(made.get("rollingUpdate") or {})}
    return made


def deployment(meta: Body, app: str, replicas: int, how: Body, pod: Body) -> Body:
    """A Deployment whose pods carry its own labels and annotations."""
    template = {key: value for key, value in meta.items() if key != "ownerReferences"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": app}},
            "template": {"metadata": template, "spec": pod},
            "strategy": how,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
        },
    }


def clients_service(meta: Body, predictor: Mapping[str, Any], pod: Body, release: Release) -> Body:
    """The Service that clients use: port 80 goes to the first container port."""
    ports = _service_ports(meta["name"], pod, release)
    if predictor.get("batcher") is not None or predictor.get("logger") is not None:
        ports[0]["targetPort"] = _AGENT_PORT
    ports = auth_proxy.with_port(release, meta, ports)
    spec: Body = {"ports": ports, "selector": {"app": names.app_label(meta["name"])}}
    if release.clients_service_is_headless:
        spec["clusterIP"] = "None"
    return _service(meta, spec)


def headless_service(meta: Body, name: str, role: str, app: str, generation: int) -> Body:
    """The Service of one generation's head or workers; it also resolves to pods that are not ready."""
    made = {**meta, "name": name, "labels": {**meta["labels"], names.ROLE_LABEL: role}}
    return _service(
        made,
        {
            "selector": {"app": app, names.GENERATION_LABEL: str(generation)},
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
        },
    )


def autoscaler(meta: Body, predictor: Mapping[str, Any]) -> Body:
    """The HorizontalPodAutoscaler of a single-node service."""
    least = max(predictor.get("minReplicas") or 1, 1)
    target = {"type": "Utilization", "averageUtilization": predictor.get("scaleTarget") or 80}
    resource = {"name": predictor.get("scaleMetric") or "cpu", "target": target}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta,
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": meta["name"]},
            "minReplicas": least,
            "maxReplicas": max(predictor.get("maxReplicas") or 0, least),
            "metrics": [{"type": "Resource", "resource": resource}],
            "behavior": {},
        },
    }


def model_config(service: Body) -> Body:
    """The list of models of a multi-model server, which starts empty."""
    meta = metadata(service, agent.config_name(service["metadata"]["name"]), {}, {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"models.json": "[]"}}


def pod(meta: Body, deployment_name: str, spec: Body) -> Body:
    """One pod of a Deployment; its name ends in a hash that only the cluster knows."""
    made: Body = {"generateName": f"{deployment_name}-"}
    made |= {key: meta[key] for key in ("namespace", "labels", "annotations") if key in meta}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": spec}


def _service(meta: Body, spec: Body) -> Body:
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}


def _service_ports(name: str, pod_spec: Body, release: Release) -> list[Body]:
    found = pod_spec["containers"]
    container = next((one for one in found if one["name"] == names.TRANSFORMER_CONTAINER), found[0])
    ports: list[Body] = []
    for index, port in enumerate(container.get("ports") or []):
        made = {
            "name": port.get("name", ""),
            "protocol": port.get("protocol", "TCP"),
            "port": port["containerPort"] if index else 80,
            "targetPort": port["containerPort"],
        }
        if not made["name"] and (
            release.named_ports == "all" or (release.named_ports == "first" and not index)
        ):
            made["name"] = "http"
        elif not made["name"]:
            del made["name"]
        if release.sets_app_protocol and any(mark in port.get("name", "") for mark in ("grpc", "h2c")):
            made["appProtocol"] = _H2C
        ports.append(made)
    return ports or [{"name": name, "protocol": "TCP", "port": 80, "targetPort": 8080}]
