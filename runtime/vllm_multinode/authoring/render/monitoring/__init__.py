"""What Prometheus' operator scrapes and alerts on, and Grafana shows: as the kustomize component has it.

The files beside this one are the component's own (scripts/generate writes them), so that both say the same.
"""

from importlib.resources import files
from typing import Any

from vllm_multinode.authoring.render.pod import metadata
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.contract import labels
from vllm_multinode.k8s.documents import from_text

Object = dict[str, Any]

_OF_KSERVE = "__meta_kubernetes_pod_label_serving_kserve_io_inferenceservice"
_PART_OF = "__meta_kubernetes_pod_label_app_kubernetes_io_part_of"
_CONTAINERS = "kserve-container|worker-container"
_CONTAINERS_OF_LWS = "head|worker"


def objects(spec: DeploymentSpec, target: str) -> list[Object]:
    """PodMonitors of this service, and the alerts and the dashboard that all services share.

    Args:
        spec: what is meant.
        target: kserve or lws, whose pods and containers have other names.
    """
    text = _read("podmonitors.yaml")
    if target == "lws":
        text = text.replace(_OF_KSERVE, _PART_OF).replace(_CONTAINERS, _CONTAINERS_OF_LWS)
    monitors = [_of_service(one, spec) for one in _documents(text)]
    (alerts,) = _documents(_read("alerts.yaml"))
    dashboard = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "vllm-multinode-dashboard", "labels": {"grafana_dashboard": "1"}},
        "data": {"dashboard.json": _read("dashboard.json")},
    }
    return [*monitors, *(_shared(one, spec) for one in (alerts, dashboard))]


def _of_service(monitor: Object, spec: DeploymentSpec) -> Object:
    """Named and selecting as the service's other companions: every replica's pods, under either target."""
    wanted = monitor["spec"]["selector"]["matchLabels"]
    role = {key: value for key, value in wanted.items() if key == labels.COMPONENT}
    end = monitor["metadata"]["name"].removeprefix("vllm")
    selector = {"matchLabels": {labels.PART_OF: spec.name, **role}}
    return {
        **monitor,
        "metadata": metadata(spec, f"{spec.name}{end}"),
        "spec": {**monitor["spec"], "selector": selector},
    }


def _shared(one: Object, spec: DeploymentSpec) -> Object:
    """Services share it, so no service's labels stand on it."""
    where = {"namespace": spec.namespace} if spec.namespace else {}
    own = {**one["metadata"].get("labels", {}), labels.MANAGED_BY: labels.MANAGER}
    return {**one, "metadata": {**one["metadata"], **where, "labels": own}}


def _documents(text: str) -> list[Object]:
    return [dict(document.body) for document in from_text(text, "monitoring")]


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
