"""The kubelet and the scheduler of a few local nodes, for the Pods of one namespace."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from controlplane.kubelet import accounts, logs
from controlplane.kubelet.api import PORT, Body, PodApi
from controlplane.kubelet.claims import Claims
from controlplane.kubelet.pod import Machine, PodRunner
from controlplane.kubelet.services import Services, full_names
from controlplane.plane.egress import Egress
from vllm_multinode.authoring.render import router
from vllm_multinode.contract import ports
from vllm_multinode.local.run.localrun import Entrance, LocalRun, listen, url
from vllm_multinode.local.rundir import Runs

log = logging.getLogger(__name__)

_POLL: Final = 0.3
_END_TIMEOUT: Final = 10.0
_LOOPBACK: Final = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
_PORTS: Final = (ports.API, ports.SUPERVISOR, router.METRICS)


class Kubelet:
    """Gives each Pod a free node, runs it there, and resolves Services for all of them."""

    def __init__(self, machine: Machine, urls: Mapping[str, Mapping[int, str]], run: LocalRun) -> None:
        """Prepare.

        Args:
            machine: what the Pods share.
            urls: where each port of each node is reached from this machine.
            run: the local run that the nodes are of.
        """
        self.run = run
        self.urls = urls
        self._machine = machine
        self._runners: dict[str, PodRunner] = {}
        self._failures: list[str] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="kubelet", daemon=True)

    def start(self) -> None:
        """Serve from now on, in a thread."""
        self._thread.start()

    def end(self) -> None:
        """Look at no Pod any more; the nodes end with their run."""
        self._ending.set()
        for runner in list(self._runners.values()):
            runner.give_up()
        self._thread.join(_END_TIMEOUT)

    def check(self) -> None:
        """Raise what has gone wrong in this kubelet itself; call it while waiting for something."""
        assert not self._failures, "; ".join(self._failures)

    def node_of(self, pod: str) -> str:
        """The node that a Pod runs on."""
        return next(one.node for one in self._runners.values() if one.name == pod)

    def url(self, pod: str, port: int) -> str:
        """Where a port of a Pod is reached from this machine."""
        return self.urls[self.node_of(pod)][port]

    def logs(self) -> dict[str, str]:
        """What every container has written, by the local runner's name for it."""
        logs = sorted(self.run.directory.logs.glob("*.log"))
        return {path.stem: path.read_text(errors="replace") for path in logs}

    def reach(self, pod: str) -> dict[int, tuple[str, int]]:
        """Host and port of this machine for each port of a Pod; none where it does not run here."""
        nodes = [one.node for one in self._runners.values() if one.name == pod]
        ways = self.urls[nodes[0]] if nodes else {}
        found = {port: address.removeprefix("http://").rpartition(":") for port, address in ways.items()}
        return {port: (host, int(own)) for port, (host, _, own) in found.items()}

    def log(self, pod: str) -> str | None:
        """What a Pod has written; None where it does not run here."""
        seen = [one.seen.node for one in self._runners.values() if one.name == pod]
        if not seen or seen[0] is None:
            return None
        path = self.run.directory.logs / f"{seen[0].pod}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _keep(self) -> None:
        while not self._ending.wait(_POLL):
            try:
                self._sync()
            except Exception as error:  # noqa: BLE001 - handed to the test, by check
                self._failures.append(f"kubelet: {error}")
                return

    def _sync(self) -> None:
        self._machine.claims.update(self._machine.api.claims())
        pods = {pod["metadata"]["uid"]: pod for pod in self._machine.api.pods()}
        for uid, runner in list(self._runners.items()):
            if runner.error is not None:
                self._failures.append(f"{runner.name}: {runner.error}")
            if uid in pods:
                runner.update(pods[uid])
            elif runner.ended:
                del self._runners[uid]
        for uid, pod in pods.items():
            if uid not in self._runners and not pod["metadata"].get("deletionTimestamp"):
                self._place(pod)
        self._lead()
        self._write_hosts(list(pods.values()))

    def _lead(self) -> None:
        """Let the API server reach every Pod."""
        egress = self._machine.egress
        if egress is None:
            return
        for runner in self._runners.values():
            if (node := runner.seen.node) is None:
                continue
            for port, place in self.reach(runner.name).items():
                egress.lead(node.address, port, place)

    def _place(self, pod: Body) -> None:
        """Run it on a free node; where there is none, it waits as in a full cluster."""
        if accounts.wanted(pod) and self._machine.egress is None:
            # Nothing leads it to the API, which is all that it is for.
            return
        taken = {runner.node for runner in self._runners.values() if not runner.finished}
        node = next((name for name in self.urls if name not in taken), None)
        if node is None:
            return
        log.info("%s gets %s", pod["metadata"]["name"], node)
        self._machine.api.bind(pod, node)
        pod["spec"]["nodeName"] = node
        runner = PodRunner(pod, node, self.urls[node], self._machine)
        self._runners[pod["metadata"]["uid"]] = runner
        runner.start()

    def _write_hosts(self, pods: list[Body]) -> None:
        """In place, for the containers have this very file bound."""
        known = [(one.name, one.seen.node) for one in self._runners.values() if not one.finished]
        lines = [f"{node.address} {name} {node.pod}\n" for name, node in known if node is not None]
        for pod in pods:
            if address := pod.get("status", {}).get("podIP"):
                lines += [f"{address} {' '.join(names)}\n" for names in _own_names(pod)]
        lines += self._machine.services.update(self._machine.api.services(), pods)
        text = _LOOPBACK + "".join(lines)
        if text != self._machine.hosts.read_text():
            _rewrite(self._machine.hosts, text)


def _rewrite(path: Path, text: str) -> None:
    """Never empty, for it may be being read."""
    with path.open("r+") as file:
        file.write(text)
        file.truncate()


def _own_names(pod: Body) -> Iterator[tuple[str, ...]]:
    """What a pod is called under its headless Service, as those of a StatefulSet are."""
    spec, namespace = pod["spec"], pod["metadata"]["namespace"]
    if spec.get("hostname") and spec.get("subdomain"):
        yield full_names(f"{spec['hostname']}.{spec['subdomain']}", namespace)


@contextmanager
def kubelet(
    kubeconfig: Path,
    namespace: str,
    *,
    nodes: int,
    claims: Mapping[str, Path],
    image: Mapping[str, str],
    folder: Path,
    egress: Egress | None = None,
) -> Iterator[Kubelet]:
    """A kubelet for the time of a block. Call it in the main thread: the nodes end with it.

    Args:
        kubeconfig: of a user who may do everything with Pods.
        namespace: whose Pods it runs.
        nodes: how many Pods there may be at a time; the others wait.
        claims: folders of PersistentVolumeClaims that are there before; others are given one.
        image: the variables that every image sets.
        folder: a short path, for all its files.
        egress: the control plane's; with it the API server and the Pods reach each other.

    Raises:
        MultinodeError: this machine allows no namespaces.
    """
    # Nodes have no namespace, and there may be several kubelets in one cluster.
    names = [f"{namespace}-{number}" for number in range(1, nodes + 1)]
    listening = {name: {port: listen(0) for port in _PORTS} for name in names}
    urls = {node: {port: url(one) for port, one in ways.items()} for node, ways in listening.items()}
    entrances = [Entrance(one, node, port) for node, ways in listening.items() for port, one in ways.items()]
    hosts = folder / "hosts"
    hosts.write_text(_LOOPBACK)
    with ExitStack() as ends:
        run = ends.enter_context(LocalRun.start(Runs(folder / "runs").create(None, "kubelet"), (), entrances))
        api = PodApi(kubeconfig, namespace)
        for name in names:
            api.add_node(name)
            ends.callback(api.remove_node, name)
        held = Claims(api, claims, folder / "claims")
        services = Services(folder / "services")
        machine = Machine(api, run.client, held, services, image, hosts, folder / "volumes", egress)
        found = Kubelet(machine, urls, run)
        if egress is not None:
            server = ends.enter_context(logs.serve(found.log, egress.certificates, found.reach))
            for name in names:
                egress.lead(name, PORT, server)
        found.start()
        ends.callback(found.end)
        yield found
