"""One Pod on one local node: started, probed, restarted, stopped."""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controlplane.kubelet import accounts, environment, volumes
from controlplane.kubelet.api import Body, MissingError, PodApi
from controlplane.kubelet.claims import Claims
from controlplane.kubelet.probes import Probes, http_get
from controlplane.kubelet.services import Services
from controlplane.kubelet.status import Seen, ended, status
from controlplane.plane.egress import Egress
from vllm_multinode.local.run.client import RunClient
from vllm_multinode.local.world.pod_spec import HostMount, PodSpec, Restart
from vllm_multinode.local.world.protocol import NodeStatus, Request

log = logging.getLogger(__name__)

_POLL: Final = 0.2
_DEFAULT_GRACE: Final = 30.0
# Of KServe's pods and of LeaderWorkerSet's, of routers, and of Jobs.
_NO_HEADS: Final = ("worker-container", "worker", "router", "fetch", "secret-filler")
_RESTARTS: Final[Mapping[str, Restart]] = {"Always": "always", "Never": "never"}


@dataclass(frozen=True)
class Machine:
    """What all Pods of a kubelet share.

    Args:
        api: the API server.
        client: the local run that the nodes are of.
        claims: the folder behind each PersistentVolumeClaim.
        services: as the Pods see them.
        image: the variables that every image sets.
        hosts: what is /etc/hosts in every container.
        folder: for the Pods' empty volumes.
        egress: the control plane's, where the API server and the Pods are to reach each other.
    """

    api: PodApi
    client: RunClient
    claims: Claims
    services: Services
    image: Mapping[str, str]
    hosts: Path
    folder: Path
    egress: Egress | None = None


def pod_spec(pod: Body, node: str, machine: Machine) -> PodSpec:
    """The Pod as the local runner takes it.

    Raises:
        ValueError: something in it is not for this kubelet.
    """
    spec, metadata = pod["spec"], pod["metadata"]
    if len(spec["containers"]) != 1 or spec.get("initContainers"):
        raise ValueError(f"{metadata['name']}: only Pods of one container are for this kubelet")
    [container] = spec["containers"]
    values, later = environment.variables(pod, container, machine.image, machine.api.files)
    hosts = HostMount(source=machine.hosts, target=Path("/etc/hosts"))
    folder = machine.folder / metadata["uid"]
    own = volumes.mounts(pod, container, machine.claims.folders, folder, machine.api.files)
    found = PodSpec(
        node=node,
        role="worker" if container["name"] in _NO_HEADS else "head",
        generate_name=f"{metadata['name']}-",
        argv=environment.command_line(container, values),
        env=values,
        fields=later,
        mounts=(hosts, *own),
        shared_memory=volumes.shared_memory(pod, container),
        sysctls={one["name"]: one["value"] for one in spec.get("securityContext", {}).get("sysctls", [])},
        restart=_restart(pod),
        grace=spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE),
    )
    found = machine.services.with_proxy(found)
    if accounts.wanted(pod) and machine.egress is not None:
        return accounts.with_account(found, pod, machine.api, machine.egress, folder / "account")
    return found


def _restart(pod: Body) -> Restart:
    policy = pod["spec"].get("restartPolicy", "Always")
    if policy not in _RESTARTS:
        raise ValueError(f"{pod['metadata']['name']}: restartPolicy {policy} is not for this kubelet")
    return _RESTARTS[policy]


class PodRunner:
    """Keeps one Pod's local node as the Pod says, until the Pod is deleted and gone."""

    def __init__(self, pod: Body, node: str, urls: Mapping[int, str], machine: Machine) -> None:
        """Prepare; `start` runs it in a thread of its own.

        Args:
            pod: as the API server has it.
            node: the local node that it gets.
            urls: where each port of that node is reached from this machine.
            machine: what it shares with the others.
        """
        self.name = pod["metadata"]["name"]
        self.pod = pod
        self.node = node
        self.seen = Seen(None)
        self.finished = False
        """Whether it has ended by itself and is not started again: its node is free."""
        self.error: Exception | None = None
        self._urls = urls
        self._machine = machine
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._deleted = threading.Event()
        self._given_up = threading.Event()
        self._written: Body = {}
        [self._container, *_] = pod["spec"]["containers"]
        self._probes = Probes(self._container)
        self._restarts = self._killed = 0

    @property
    def ended(self) -> bool:
        """Whether it does nothing any more."""
        return not self._thread.is_alive()

    def start(self) -> None:
        """Run the Pod from now on."""
        self._thread.start()

    def update(self, pod: Body) -> None:
        """Take the Pod as the API server has it now."""
        self.pod = pod
        if pod["metadata"].get("deletionTimestamp"):
            self._deleted.set()

    def give_up(self) -> None:
        """Let go of the Pod; its node ends with the run."""
        self._given_up.set()

    def _run(self) -> None:
        try:
            self._begin()
            while not (self.finished or self._given_up.is_set() or self._deleted.wait(_POLL)):
                self._look()
            if not self.finished and not self._given_up.is_set():
                self._end()
        except Exception as error:  # noqa: BLE001 - handed to the test, by Kubelet.check
            log.warning("%s: %s", self.name, error)
            self.error = error

    def _begin(self) -> None:
        while (spec := self._spec()) is None:
            if self._given_up.wait(_POLL) or self._deleted.is_set():
                return
        self._machine.client.ask(Request(command="add", spec=spec))
        self._probes = Probes(self._container)
        self._look()

    def _spec(self) -> PodSpec | None:
        """What to run; None while something that the Pod names is missing."""
        try:
            return pod_spec(self.pod, self.node, self._machine)
        except MissingError as error:
            log.info("%s waits: %s", self.name, error)
            return None

    def _look(self) -> None:
        node = self._local()
        if node.restarts != self._restarts:
            self._restarts = node.restarts
            self._probes = Probes(self._container)
        if node.process in ("running", "frozen"):
            self._probes.ask(self._get)
        if self._probes.hopeless:
            self._restart()
        self._say(Seen(self._counted(node), self._probes.started, self._probes.ready))
        if ended(self.pod, node):
            self._machine.client.ask(Request(command="remove", node=self.node))
            self.finished = True

    def _restart(self) -> None:
        """As a failed startup or liveness probe wants it."""
        log.info("%s failed its probe; restarting it", self.name)
        self._machine.client.ask(Request(command="stop", node=self.node))
        self._machine.client.ask(Request(command="start", node=self.node))
        self._killed += 1
        self._probes = Probes(self._container)

    def _end(self) -> None:
        # Out of the Services first: that is what the wait before SIGTERM is for.
        self._say(Seen(self.seen.node, self.seen.started))
        time.sleep(_pre_stop(self._container))
        grace = self.pod["metadata"].get("deletionGracePeriodSeconds", _DEFAULT_GRACE)
        self._machine.client.ask(Request(command="remove", node=self.node, grace=grace))
        self._machine.api.forget(self.pod)

    def _local(self) -> NodeStatus:
        return next(one for one in self._machine.client.status().nodes if one.node == self.node)

    def _counted(self, node: NodeStatus) -> NodeStatus:
        return node.model_copy(update={"restarts": node.restarts + self._killed})

    def _get(self, port: int, path: str, timeout: float) -> bool:
        return http_get(f"{self._urls[port]}{path}", timeout)

    def _say(self, seen: Seen) -> None:
        self.seen = seen
        said = status(self.pod, seen)
        if said != self._written:
            self._machine.api.write_status(self.pod, said)
            self._written = said


def _pre_stop(container: Body) -> float:
    """Seconds of the only preStop hook that this kubelet knows: `sleep N`.

    Raises:
        ValueError: it is another one.
    """
    hook = container.get("lifecycle", {}).get("preStop")
    if hook is None:
        return 0.0
    words = hook.get("exec", {}).get("command", [])
    if len(words) != 2 or words[0] != "sleep":
        raise ValueError(f"{container['name']}: this preStop hook is not for this kubelet")
    return float(words[1])
