"""What the API server refuses of an object: the mistakes that a merge of two manifests makes.

Source: k8s.io/kubernetes/pkg/apis/core/validation, for the fields that KServe merges.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from vllm_multinode.k8s import quantity
from vllm_multinode.platforms import gpus, names

_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")
_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc")


def objections(made: Mapping[str, Any]) -> Iterator[str]:
    """Why the API server would refuse a Deployment or a Service; nothing where it would not."""
    for name, value in (made["metadata"].get("labels") or {}).items():
        if len(value) > names.LABEL_LIMIT:
            yield f"the label {name} has {len(value)} characters, {names.LABEL_LIMIT} are allowed"
    if made["kind"] == "Service":
        name = made["metadata"]["name"]
        if len(name) > names.LABEL_LIMIT:
            yield f"its name has {len(name)} characters, {names.LABEL_LIMIT} are allowed"
        yield from _ports(made["spec"].get("ports") or [])
    elif made["kind"] == "Deployment":
        yield from pod_objections(made["spec"]["template"]["spec"])


def pod_objections(pod: Mapping[str, Any]) -> Iterator[str]:
    """Why the API server would refuse a pod."""
    found = [*(pod.get("initContainers") or []), *pod["containers"]]
    for name, count in Counter(one["name"] for one in found).items():
        if count > 1:
            yield f"{count} containers are named '{name}'"
    volumes = pod.get("volumes") or []
    for volume in volumes:
        sources = [key for key in volume if key != "name"]
        if len(sources) > 1:
            yield f"the volume '{volume['name']}' has {len(sources)} sources ({', '.join(sorted(sources))})"
    known = {volume["name"] for volume in volumes}
    for container in found:
        yield from (f"container '{container['name']}': {text}" for text in _container(container, known))


def _container(container: Mapping[str, Any], volumes: set[str]) -> Iterator[str]:
    if not container.get("image"):
        yield "it has no image"
    for variable in container.get("env") or []:
        if variable.get("value") and variable.get("valueFrom"):
            yield f"the variable {variable['name']} has a value and a valueFrom"
    mounts = container.get("volumeMounts") or []
    for path, count in Counter(mount["mountPath"] for mount in mounts).items():
        if count > 1:
            yield f"{path} is mounted {count} times"
    for mount in mounts:
        if mount["name"] not in volumes:
            yield f"it mounts the volume '{mount['name']}', which the pod does not have"
    for probe in _PROBES:
        handlers = [one for one in _HANDLERS if one in (container.get(probe) or {})]
        if len(handlers) > 1:
            yield f"its {probe} has {len(handlers)} handlers ({', '.join(handlers)})"
    yield from _resources(container.get("resources") or {})


def _resources(asked: Mapping[str, Any]) -> Iterator[str]:
    limits, requests = asked.get("limits") or {}, asked.get("requests") or {}
    for name, value in requests.items():
        if name in limits and quantity.parse(value) > quantity.parse(limits[name]):
            yield f"it requests {value} of {name} above its limit of {limits[name]}"
        elif gpus.is_gpu(name) and name not in limits:
            yield f"it requests {name} without a limit"


def _ports(ports: list[dict[str, Any]]) -> Iterator[str]:
    if len(ports) > 1 and any(not port.get("name") for port in ports):
        yield "every port of the head's container needs a name where there are several"
    for number, count in Counter((port["port"], port.get("protocol", "TCP")) for port in ports).items():
        if count > 1:
            yield f"port {number[0]} stands there {count} times"
