"""An InferenceService over local nodes, as tests act on it."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from vllm_multinode.contract import env, ports
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.run import ask
from vllm_multinode.local.run.isvc import LocalService
from vllm_multinode.local.run.localrun import Entrance, LocalRun, listen, url
from vllm_multinode.local.rundir import Runs
from vllm_multinode.local.world.pod_spec import PodSpec
from vllm_multinode.local.world.protocol import Action, Families, NodeStatus, Request
from vllm_multinode.platforms.kserve.environment import Service
from vllm_multinode.platforms.releases import DEFAULT, find

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds that anything but the real engine may take on a slow machine."""
_POLL = 0.02
_LOG_BYTES = 12_000


def eventually(
    what: Callable[[], T | None],
    seconds: float = PATIENCE,
    why: Callable[[], str] = str,
    *,
    poll: float = _POLL,
) -> T:
    """What `what` returns as soon as that is true.

    Args:
        what: asked again and again.
        seconds: how long.
        why: says how things are when it does not come.
        poll: seconds between two times.
    """
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s; {why()}"
        time.sleep(poll)
    return found


def service(
    model: Path,
    *,
    executor: ExecutorName = "mp",
    nodes: int = 2,
    tp: int = 1,
    pp: int | None = None,
    version: str = DEFAULT.number,
    generation: int = 1,
    env: dict[str, str] | None = None,
    args: Sequence[str] = (),
    **gpus: int,
) -> LocalService:
    """An InferenceService named `llm`; as many pipeline stages as nodes, unless `pp` says otherwise.

    `head_gpus` and `worker_gpus` are what the pods are given, TP where nothing is said.
    """
    return LocalService(
        service=Service(
            name="llm",
            generation=generation,
            tensor_parallel=tp,
            pipeline_parallel=nodes if pp is None else pp,
            nodes=nodes,
            **{"head_gpus": tp, "worker_gpus": tp, **gpus},
        ),
        model=model,
        executor=executor,
        release=find(version),
        env=env or {},
        args=tuple(args),
    )


@dataclass
class LocalGroup:
    """A run, and ways in to the supervisor of each of its nodes and to the API of its heads.

    Args:
        run: the run.
        supervisors: URL by node.
        apis: URL by node, of the heads.
        pods: what it began with.
    """

    run: LocalRun
    supervisors: dict[str, str]
    apis: dict[str, str]
    pods: tuple[PodSpec, ...] = ()

    @property
    def nodes(self) -> list[NodeStatus]:
        """As the local runner sees them."""
        return list(self.run.client.status().nodes)

    def node(self, name: str) -> NodeStatus:
        """As the local runner sees it."""
        return next(found for found in self.nodes if found.node == name)

    def status(self, node: str = "head") -> dict[str, Any]:
        """What its supervisor answers to `/status`; nothing where it does not answer."""
        try:
            found: dict[str, Any] = json.loads(self._get(f"{self.supervisors[node]}/status")[1])
        except (OSError, ValueError):
            return {}
        return found

    def ready(self, node: str = "head") -> int:
        """The status code of its `/ready`; 0 where it does not answer."""
        try:
            return self._get(f"{self.supervisors[node]}/ready")[0]
        except OSError:
            return 0

    def api(self, path: str, node: str = "head") -> Any:
        """What the head's engine answers to a GET, as JSON."""
        return json.loads(self.text(path, node))

    def text(self, path: str, node: str = "head") -> str:
        """What the head's engine answers to a GET."""
        return self._get(self.apis[node] + path)[1]

    @staticmethod
    def _get(address: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def wait_for(
        self, state: str, node: str = "head", seconds: float = PATIENCE, **more: Any
    ) -> dict[str, Any]:
        """`/status` as soon as it says that state, and what `more` says, such as `epoch=2`."""
        wanted = {"state": state, **more}

        def found() -> dict[str, Any]:
            status = self.status(node)
            return status if wanted.items() <= status.items() else {}

        return eventually(found, seconds, lambda: f"{node} is not {wanted} but {self.shown()}")

    def wait_until_serving(self, epoch: int, seconds: float = PATIENCE) -> dict[str, Any]:
        """The head's `/status` once the engine of that epoch serves and every node knows."""
        status = self.wait_for("serving", seconds=seconds, epoch=epoch)
        for member in status["members"]:
            node = next(found.node for found in self.nodes if found.pod == member["name"])
            eventually(partial(self._serves, node), seconds, self.shown)
        return status

    def _serves(self, node: str) -> bool:
        return self.ready(node) == 200

    def wait_for_end(self, node: str, seconds: float = PATIENCE) -> NodeStatus:
        """The node once a container of it has ended."""

        def ended() -> NodeStatus | None:
            found = self.node(node)
            return None if found.exit_code is None else found

        return eventually(ended, seconds, self.shown)

    def act(self, action: Action, node: str, **more: Any) -> float:
        """Do that to a node, and return the Unix time just before."""
        before = time.time()
        self.run.client.ask(Request(command=action, node=node, **more))
        return before

    def add(self, pod: PodSpec) -> None:
        """Run one more pod; `later` in `open_group` names its node, or it cannot be asked."""
        self.run.client.ask(Request(command="add", spec=pod))

    def ask(self, prompt: str = "One two three", tokens: int = 16, node: str = "head") -> ask.Answer:
        """A greedy completion."""
        return ask.ask(self.apis[node], prompt, tokens=tokens, timeout=PATIENCE)

    def noticed(self, since: float, node: str = "head") -> str:
        """Why its supervisor was recovering for the first time after `since`, as its history tells."""
        changes = (change for change in self.status(node)["history"] if change["at"] >= since)
        return str(next(change["reason"] for change in changes if change["state"] == "recovering"))

    def processes(self, node: str, word: str) -> list[int]:
        """This machine's numbers of the node's processes that have `word` in their command line."""
        name = f"{env.POD_NAME}={self.node(node).pod}".encode()
        # An engine's processes write their titles over their environment, so the first process is asked.
        namespaces = {_namespace(pid) for pid in _processes() if name in _read(pid, "environ").split(b"\0")}
        return [
            pid
            for pid in _processes()
            if _namespace(pid) in namespaces - {""} and word.encode() in _read(pid, "cmdline")
        ]

    def shared_memory_folder(self, node: str) -> Path:
        """Its /dev/shm."""
        return self._volume(node, "shm")

    def shared_memory(self, node: str) -> set[str]:
        """The names in its /dev/shm, whether it runs or not."""
        return {entry.name for entry in self._volume(node, "shm").iterdir()}

    def temporary_folder(self, node: str) -> Path:
        """Its /tmp."""
        return self._volume(node, "tmp")

    def temporary(self, node: str) -> set[str]:
        """The names in its /tmp, and in what Ray makes there for each of its sessions."""
        folder = self.temporary_folder(node)
        return {str(entry.relative_to(folder)) for entry in (*folder.glob("*"), *folder.glob("ray/*"))}

    def _volume(self, node: str, name: str) -> Path:
        # Mounted in the world only, where the process that made the world is.
        world = Path(f"/proc/{self.run.process.pid}/root")
        return world / str(self.run.directory.mounts / self.node(node).pod / name).lstrip("/")

    def log(self, node: str) -> str:
        """All that its present pod has written."""
        return (self.run.directory.logs / f"{self.node(node).pod}.log").read_text(errors="replace")

    def logs(self) -> dict[str, str]:
        """The end of every pod's log, of those that are gone too."""
        found = {}
        for path in sorted(self.run.directory.logs.glob("*.log")):
            found[path.stem] = path.read_bytes()[-_LOG_BYTES:].decode(errors="replace")
        return found

    def shown(self) -> str:
        """Every node in a few words."""
        return "; ".join(
            f"{node.node} {node.pod}: {node.shown}"
            + (f", ended with: {node.termination}" if node.termination else "")
            for node in self.nodes
        )


def open_group(
    base: Path, pods: Sequence[PodSpec], later: Sequence[str] = (), *, families: Families = "ipv4"
) -> LocalGroup:
    """Start the pods; skips where this machine allows no namespaces.

    Args:
        base: a short path, for the run's directory.
        pods: what runs from the beginning.
        later: nodes that are added later.
        families: of the pods' addresses.
    """
    nodes = [pod.node for pod in pods] + list(later)
    supervisors = {node: listen(0) for node in nodes}
    apis = {pod.node: listen(0) for pod in pods if pod.role == "head"}
    urls = [{node: url(one) for node, one in sockets.items()} for sockets in (supervisors, apis)]
    ways = [Entrance(one, node, ports.SUPERVISOR) for node, one in supervisors.items()]
    ways += [Entrance(one, node, ports.API) for node, one in apis.items()]
    try:
        run = LocalRun.start(Runs(base).create(None, "test"), pods, ways, families=families)
    except MultinodeError as error:
        if error.code is ExitCode.NAMESPACES:
            pytest.skip(str(error))
        raise
    return LocalGroup(run, urls[0], urls[1], tuple(pods))


def _processes() -> list[int]:
    return sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


def _namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""
