"""Names and addresses of Services: a headless one is its Pods, another has a loopback address."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from controlplane.kubelet import service_proxy
from controlplane.kubelet.api import Body
from vllm_multinode.local.world.pod_spec import HostMount, PodSpec

_FIRST: Final = IPv4Address("127.1.0.1")
_FOLDER: Final = Path("/run/services")
_FILE: Final = "endpoints.json"


class Services:
    """The Services of a namespace, as its Pods see them."""

    def __init__(self, folder: Path) -> None:
        """Prepare.

        Args:
            folder: for the file that proxies read.
        """
        self._folder = folder
        self._folder.mkdir(parents=True)
        self._addresses: dict[str, str] = {}
        self._written = ""

    def update(self, services: Iterable[Body], pods: list[Body]) -> list[str]:
        """Tell the proxies where each leads to; returns the lines of /etc/hosts."""
        lines: list[str] = []
        endpoints: dict[str, list[str]] = {}
        for service in services:
            metadata = service["metadata"]
            names = " ".join(full_names(metadata["name"], metadata["namespace"]))
            if service["spec"].get("clusterIP") == "None":
                lines += [f"{pod['status']['podIP']} {names}\n" for pod in _behind(service, pods)]
                continue
            address = self._addresses.setdefault(metadata["uid"], str(_FIRST + len(self._addresses)))
            lines.append(f"{address} {names}\n")
            for port in service["spec"].get("ports", ()):
                endpoints[f"{address}:{port['port']}"] = [
                    f"{pod['status']['podIP']}:{_target(port, pod)}" for pod in _behind(service, pods)
                ]
        self._write(json.dumps(endpoints))
        return lines

    def _write(self, text: str) -> None:
        if text != self._written:
            new = self._folder / "new"
            new.write_text(text)
            new.rename(self._folder / _FILE)
            self._written = text

    def with_proxy(self, spec: PodSpec) -> PodSpec:
        """The Pod with a proxy beside its program, which is only given to programs that are told URLs."""
        if not any(word.startswith("http://") for word in spec.argv):
            return spec
        program = (sys.executable, service_proxy.__file__, str(_FOLDER / _FILE))
        mount = HostMount(source=self._folder, target=_FOLDER, read_only=True)
        return spec.model_copy(update={"argv": (*program, *spec.argv), "mounts": (*spec.mounts, mount)})


def full_names(name: str, namespace: str) -> tuple[str, ...]:
    """All that a cluster's resolver answers to for a name in a namespace."""
    return (name, *(f"{name}.{namespace}{suffix}" for suffix in ("", ".svc", ".svc.cluster.local")))


def _behind(service: Body, pods: list[Body]) -> Iterator[Body]:
    """The Pods that a Service leads to; none of one without a selector."""
    spec = service["spec"]
    for pod in pods if spec.get("selector") else ():
        labels, status = pod["metadata"].get("labels", {}), pod.get("status", {})
        if status.get("phase") != "Running" or not status.get("podIP"):
            continue
        if not spec["selector"].items() <= labels.items():
            continue
        if spec.get("publishNotReadyAddresses") or _ready(status):
            yield pod


def _ready(status: Mapping[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", []))


def _target(port: Body, pod: Body) -> int:
    """The container's port, which a Service may give by its name."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    every = (one for container in pod["spec"]["containers"] for one in container.get("ports", ()))
    return next((int(one["containerPort"]) for one in every if one.get("name") == target), int(port["port"]))
