"""What the API server rejects of a pod's spec: each a rule, a text and a path in the spec.

Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

from vllm_multinode.contract.finding import Path
from vllm_multinode.k8s import quantity
from vllm_multinode.k8s.access import at, mapping
from vllm_multinode.platforms import gpus

Refused = tuple[str, str, Path]
HashableT = TypeVar("HashableT", bound=Hashable)

OTHER: Final = "pod-refused"
_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")
_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PORT_NAME: Final = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")
_MOST_PORT: Final = 65535
# The field that each source cannot do without.
_NEEDED: Final = {
    "persistentVolumeClaim": "claimName",
    "secret": "secretName",
    "hostPath": "path",
    "configMap": "name",
}
_CHOICES: Final = {
    "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
    "terminationMessagePolicy": ("File", "FallbackToLogsOnError"),
}
_DNS: Final = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_NETWORK_SYSCTLS: Final = ("net.",)


def repeated(values: Iterable[HashableT]) -> list[HashableT]:
    """The values that stand there more than once."""
    return [value for value, count in Counter(values).items() if count > 1]


def pod_fields(pod: Mapping[str, Any]) -> Iterator[Refused]:
    """Objections to the pod's own fields."""
    grace = pod.get("terminationGracePeriodSeconds")
    if isinstance(grace, int) and grace < 0:
        yield OTHER, f"terminationGracePeriodSeconds is {grace}", ("terminationGracePeriodSeconds",)
    policy = pod.get("dnsPolicy")
    if policy is not None and policy not in _DNS:
        yield OTHER, f"dnsPolicy {policy} does not exist", ("dnsPolicy",)
    elif policy == "None" and not at(pod, "dnsConfig", "nameservers"):
        yield OTHER, "dnsPolicy None needs nameservers in dnsConfig", ("dnsPolicy",)
    if pod.get("shareProcessNamespace") and pod.get("hostPID"):
        yield OTHER, "shareProcessNamespace and hostPID exclude each other", ("shareProcessNamespace",)
    for index, sysctl in enumerate(at(pod, "securityContext", "sysctls") or []):
        name = str(at(sysctl, "name") or "")
        if pod.get("hostNetwork") and name.startswith(_NETWORK_SYSCTLS):
            yield (
                OTHER,
                f"the sysctl {name} cannot be set with hostNetwork",
                ("securityContext", "sysctls", index),
            )
    for index, toleration in enumerate(pod.get("tolerations") or []):
        for text in _toleration(toleration):
            yield OTHER, text, ("tolerations", index)
    keys = [
        (at(one, "topologyKey"), at(one, "whenUnsatisfiable"))
        for one in pod.get("topologySpreadConstraints") or []
    ]
    for key, _ in repeated(keys):
        yield OTHER, f"two topologySpreadConstraints are for {key}", ("topologySpreadConstraints",)


def _toleration(toleration: Mapping[str, Any]) -> Iterator[str]:
    operator = at(toleration, "operator") or "Equal"
    if operator not in ("Equal", "Exists"):
        yield f"a toleration's operator {operator} does not exist"
    elif operator == "Exists" and at(toleration, "value"):
        yield "a toleration with the operator Exists has no value"
    elif operator == "Equal" and not at(toleration, "key"):
        yield "a toleration without a key needs the operator Exists"
    effect = at(toleration, "effect")
    if effect and effect not in _EFFECTS:
        yield f"a taint's effect {effect} does not exist"
    if at(toleration, "tolerationSeconds") is not None and effect != "NoExecute":
        yield "tolerationSeconds is only valid with the effect NoExecute"


def volumes(pod: Mapping[str, Any]) -> Iterator[Refused]:
    """Objections to the pod's volumes."""
    given = pod.get("volumes") or []
    for name in repeated(volume["name"] for volume in given):
        yield "volume-sources", f"several volumes are named '{name}'", ("volumes",)
    for index, volume in enumerate(given):
        name, path = volume["name"], ("volumes", index)
        if not _LABEL.fullmatch(name):
            yield OTHER, f"'{name}' is not a valid volume name", path
        sources = [key for key, value in volume.items() if key != "name" and value is not None]
        if len(sources) > 1:
            text = f"the volume '{name}' has {len(sources)} sources ({', '.join(sorted(sources))})"
            yield "volume-sources", text, path
        for source, needed in _NEEDED.items():
            if source in sources and not at(volume, source, needed):
                yield (
                    "volume-sources",
                    f"the volume '{name}' has a {source} without {needed}",
                    (*path, source),
                )


def containers(pod: Mapping[str, Any]) -> Iterator[Refused]:
    """Objections to the pod's containers."""
    lists = ("initContainers", "containers")
    every = [(field, index, one) for field in lists for index, one in enumerate(pod.get(field) or [])]
    for name in repeated(one["name"] for _, _, one in every):
        count = sum(one["name"] == name for _, _, one in every)
        yield "container-names", f"{count} containers are named '{name}'", ("containers",)
    known = {volume["name"] for volume in pod.get("volumes") or []}
    for field, index, container in every:
        for rule, text, path in _container(container, known):
            yield rule, f"container '{container['name']}': {text}", (field, index, *path)


def _container(container: Mapping[str, Any], known: set[str]) -> Iterator[Refused]:
    if not _LABEL.fullmatch(container["name"]):
        yield "container-names", "the name is not valid", ("name",)
    image = container.get("image") or ""
    if not image:
        yield "image-missing", "it has no image", ("image",)
    elif image != image.strip():
        yield "image-missing", "its image begins or ends with a space", ("image",)
    for field, choices in _CHOICES.items():
        value = container.get(field)
        if value and value not in choices:
            yield OTHER, f"{field} {value} is not one of {', '.join(choices)}", (field,)
    security = mapping(container, "securityContext")
    if security.get("privileged") and security.get("allowPrivilegeEscalation") is False:
        text = "privileged excludes allowPrivilegeEscalation: false"
        yield OTHER, text, ("securityContext", "allowPrivilegeEscalation")
    yield from _variables(container)
    yield from _mounts(container, known)
    yield from _ports(container)
    yield from _calls(container)
    yield from _resources(container.get("resources") or {})


def _calls(container: Mapping[str, Any]) -> Iterator[Refused]:
    """Objections to probes and lifecycle hooks."""
    for probe in _PROBES:
        if container.get(probe) is not None:
            yield from _probe(probe, mapping(container, probe))
    for hook in ("preStop", "postStart"):
        path: Path = ("lifecycle", hook)
        if at(container, *path) is not None:
            yield from _handlers(f"lifecycle.{hook}", mapping(container, *path), path)


def _variables(container: Mapping[str, Any]) -> Iterator[Refused]:
    for index, variable in enumerate(container.get("env") or []):
        name, path = variable["name"], ("env", index)
        source = variable.get("valueFrom")
        if not name or "=" in name:
            yield "variable-sources", f"'{name}' is not a valid variable name", path
        if variable.get("value") and source:
            yield "variable-sources", f"the variable {name} has a value and a valueFrom", path
        elif isinstance(source, Mapping) and sum(value is not None for value in source.values()) > 1:
            yield "variable-sources", f"the variable {name} has several sources in valueFrom", path
        elif source == {}:
            yield "variable-sources", f"the variable {name} has a valueFrom without a source", path


def _mounts(container: Mapping[str, Any], known: set[str]) -> Iterator[Refused]:
    mounts = container.get("volumeMounts") or []
    for path in repeated(mount["mountPath"] for mount in mounts):
        count = sum(mount["mountPath"] == path for mount in mounts)
        yield "mount-twice", f"{path} is mounted {count} times", ("volumeMounts",)
    for index, mount in enumerate(mounts):
        place = ("volumeMounts", index)
        if mount["name"] not in known:
            text = f"it mounts the volume '{mount['name']}', which the pod does not have"
            yield "mount-without-volume", text, place
        below = str(mount.get("subPath") or "")
        if below.startswith("/") or ".." in below.split("/"):
            yield OTHER, f"the subPath {below} leaves its volume", (*place, "subPath")
        if ":" in str(mount["mountPath"]):
            yield OTHER, f"the mountPath {mount['mountPath']} contains a colon", (*place, "mountPath")


def _ports(container: Mapping[str, Any]) -> Iterator[Refused]:
    ports = container.get("ports") or []
    for name in repeated(port["name"] for port in ports if port.get("name")):
        yield "container-ports", f"several ports are named {name}", ("ports",)
    for index, port in enumerate(ports):
        path = ("ports", index)
        if not 0 < port["containerPort"] <= _MOST_PORT:
            yield "container-ports", f"there is no port {port['containerPort']}", (*path, "containerPort")
        if port.get("name") and not _PORT_NAME.fullmatch(port["name"]):
            text = (
                f"'{port['name']}' is not a valid port name: up to 15 lower-case letters, digits and dashes"
            )
            yield "container-ports", text, (*path, "name")


def _probe(name: str, probe: Mapping[str, Any]) -> Iterator[Refused]:
    path: Path = (name,)
    yield from _handlers(name, probe, path)
    success = probe.get("successThreshold")
    if name != "readinessProbe" and success not in (None, 0, 1):
        yield "probe-handlers", f"its {name} has a successThreshold of {success}, and only 1 is allowed", path
    for field, value in probe.items():
        if isinstance(value, int) and not isinstance(value, bool) and value < 0:
            yield "probe-handlers", f"its {name} has a {field} of {value}", (*path, field)


def _handlers(name: str, probe: Mapping[str, Any], path: Path) -> Iterator[Refused]:
    handlers = [one for one in _HANDLERS if probe.get(one) is not None]
    if len(handlers) > 1:
        text = f"its {name} has {len(handlers)} handlers ({', '.join(handlers)})"
        yield "probe-handlers", text, (*path, handlers[-1])
    elif not handlers:
        yield "probe-handlers", f"its {name} has no handler", path


def _resources(asked: Mapping[str, Any]) -> Iterator[Refused]:
    limits, requests = asked.get("limits") or {}, asked.get("requests") or {}
    for part, given in (("limits", limits), ("requests", requests)):
        for name, value in given.items():
            amount, path = quantity.parse(value), ("resources", part, name)
            if amount < 0:
                yield "resource-limits", f"{part} of {name} are {value}, below 0", path
            elif gpus.is_gpu(name) and amount != int(amount):
                yield "resource-limits", f"{part} of {name} are {value}, and devices are whole", path
    for name, value in requests.items():
        path = ("resources", "requests", name)
        if name in limits and quantity.parse(value) > quantity.parse(limits[name]):
            yield "resource-limits", f"it requests {value} of {name} above its limit of {limits[name]}", path
        elif name in limits and gpus.is_gpu(name) and quantity.parse(value) != quantity.parse(limits[name]):
            text = f"it requests {value} of {name}, and a device's request is its limit, {limits[name]}"
            yield "resource-limits", text, path
        elif gpus.is_gpu(name) and name not in limits:
            yield "resource-limits", f"it requests {name} without a limit", path
