"""What the API server rejects of an object that a control plane makes, above all after a merge.

Source: k8s.io/kubernetes/pkg/apis/core/validation and pkg/apis/apps/validation, for the fields that KServe
passes on.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from vllm_multinode.contract.finding import Path
from vllm_multinode.k8s.access import at, mapping
from vllm_multinode.platforms import names
from vllm_multinode.platforms.pod_rules import containers, pod_fields, repeated, volumes

OTHER: Final = "object-refused"


class Objection(NamedTuple):
    """One reason to reject an object.

    Attributes:
        rule: of docs/rules.md.
        text: what the API server objects to.
        path: of the field: in the pod's spec for a pod or a Deployment, else in the object.
    """

    rule: str
    text: str
    path: Path = ()


def objections(body: Mapping[str, Any]) -> Iterator[Objection]:
    """Why the API server would reject a Deployment or a Service; nothing where it would not."""
    for name, value in mapping(body, "metadata", "labels").items():
        if len(value) > names.LABEL_LIMIT:
            text = f"the label {name} has {len(value)} characters, {names.LABEL_LIMIT} are allowed"
            yield Objection("label-length", text, ("metadata", "labels", name))
    if body["kind"] == "Service":
        name = body["metadata"]["name"]
        if len(name) > names.LABEL_LIMIT:
            text = f"its name has {len(name)} characters, {names.LABEL_LIMIT} are allowed"
            yield Objection("label-length", text, ("metadata", "name"))
        yield from _service_ports(body["spec"].get("ports") or [])
    elif body["kind"] == "Deployment":
        yield from _strategy(body["spec"].get("strategy") or {})
        yield from _deployed(body["spec"]["template"]["spec"])
        yield from pod_objections(body["spec"]["template"]["spec"])


def pod_objections(pod: Mapping[str, Any]) -> Iterator[Objection]:
    """Why the API server would reject a pod."""
    for rule, text, path in (*pod_fields(pod), *volumes(pod), *containers(pod)):
        yield Objection(rule, text, path)


def _deployed(pod: Mapping[str, Any]) -> Iterator[Objection]:
    """What a Deployment's pods may not have."""
    if pod.get("restartPolicy") not in (None, "Always"):
        text = f"restartPolicy is {pod['restartPolicy']}, and a Deployment accepts only Always"
        yield Objection(OTHER, text, ("restartPolicy",))
    if pod.get("activeDeadlineSeconds") is not None:
        yield Objection(
            OTHER, "a Deployment's pods have no activeDeadlineSeconds", ("activeDeadlineSeconds",)
        )


def _strategy(strategy: Mapping[str, Any]) -> Iterator[Objection]:
    path: Path = ("deploymentStrategy",)
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind not in ("Recreate", "RollingUpdate"):
        yield Objection("strategy-invalid", f"a strategy {kind} does not exist", (*path, "type"))
    elif kind == "Recreate" and rolling is not None:
        text = "rollingUpdate may not be specified when the strategy is Recreate"
        yield Objection("strategy-invalid", text, (*path, "rollingUpdate"))
    elif kind == "RollingUpdate" and all(
        _is_zero(at(rolling, key)) for key in ("maxSurge", "maxUnavailable")
    ):
        text = "maxUnavailable may not be 0 when maxSurge is 0"
        yield Objection("strategy-invalid", text, (*path, "rollingUpdate"))


def _is_zero(value: Any) -> bool:
    return value is not None and str(value).rstrip("%").strip("0") == ""


def _service_ports(ports: list[dict[str, Any]]) -> Iterator[Objection]:
    if len(ports) > 1 and any(not port.get("name") for port in ports):
        text = "every port of the head's container needs a name if there are several"
        yield Objection("service-ports", text, ("spec", "ports"))
    for port in repeated((one["port"], one.get("protocol", "TCP")) for one in ports):
        yield Objection("service-ports", f"port {port[0]} appears several times", ("spec", "ports"))
    for name in repeated(one["name"] for one in ports if one.get("name")):
        yield Objection("service-ports", f"several ports are named {name}", ("spec", "ports"))
