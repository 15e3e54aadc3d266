"""Which sockets a group's nodes listen on, with the real engine: the table of docs/security.md.

`scripts/sockets` runs both executors and writes the table; a test holds it to what it sees. Each node is
looked at while it waits for the others, while the engine starts, while it serves, and while its head leaves.
"""

import ipaddress
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from engine.services import LocalGroup, eventually, open_group, service
from manifests.network_policy import default_policy, who_reaches
from vllm_multinode.contract import ports
from vllm_multinode.contract.executors import EXECUTOR_NAMES, ExecutorName
from vllm_multinode.local.run import isvc
from vllm_multinode.local.tiny_model.make_model import make_model
from vllm_multinode.local.world.pod_spec import HostMount, PodSpec

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "security.md"
RANGE: Final = (40000, 44999)
"""Of the component port-range: what is picked at random lies there."""
_BEGIN, _END = "<!-- sockets: begin -->\n", "<!-- sockets: end -->\n"
_LISTEN: Final = "0A"
_PATIENCE: Final = 300.0
_BETWEEN_LOOKS: Final = 2.0
ALWAYS: Final = "always"
WITH_THE_ENGINE: Final = "with the engine"
_PROGRAMS_OF_THE_ENGINE: Final = ("vllm serve", "VLLM::", "raylet", "gcs_server", "ray::")
"""Parts of the command lines of what ends with the engine."""
_CLOSED: Final = ("this pod", "members")
_TOKEN: Final = "the token of the group whose sockets are listed"


@dataclass(frozen=True, order=True)
class Listening:
    """One line of the table."""

    executor: str
    role: str
    port: str
    address: str
    what: str
    when: str = ""

    @property
    def reached_by(self) -> str:
        """Whom the service's NetworkPolicy lets at it."""
        if self.address == "loopback":
            return "this pod"
        port = RANGE[0] if self.port == "random" else int(self.port.partition("-")[0])
        return who_reaches(default_policy(), port)


def pods(model: Path, executor: ExecutorName, folder: Path) -> list[PodSpec]:
    """A group of two with a token and a bounded range of ports."""
    token = folder / "token"
    token.write_text(_TOKEN)
    mount = HostMount(source=token, target=Path("/secret/token"))
    # A start of Ray that loses against what else this machine does is not what is looked at.
    environment = {"MULTINODE_TOKEN_FILE": "/secret/token", "MULTINODE_START_ATTEMPTS": "10"}
    local = service(model, executor=executor, env=environment)
    sysctls = {"net.ipv4.ip_local_port_range": f"{RANGE[0]} {RANGE[1]}"}
    return [
        pod.model_copy(update={"mounts": (*pod.mounts, mount), "sysctls": sysctls})
        for pod in isvc.pods(local, isvc.cache_directory())
    ]


def seen(
    start: Callable[[list[PodSpec], list[str]], LocalGroup], specs: list[PodSpec], executor: ExecutorName
) -> set[Listening]:
    """What a group's nodes listen on, and whether that is without the engine too.

    It forms, starts, serves, drains and waits for another head. What is open for a moment only while the
    engine starts is not in the table, but must be closed to strangers.

    Args:
        start: starts the first pods, with names of nodes that come later.
        specs: the head and a worker.
        executor: of the group.

    Raises:
        AssertionError: something listens that the serving group does not show.
    """
    group = start(specs[:1], [specs[1].node])
    group.wait_for("forming", seconds=_PATIENCE)
    always = observe(group, executor)
    group.add(specs[1])
    starting: set[Listening] = set()

    def serves() -> bool:
        nonlocal starting
        starting |= observe(group, executor)
        # Seldom: to look at every process's files takes time that the engine needs.
        time.sleep(_BETWEEN_LOOKS)
        return group.status().get("state") == "serving"

    eventually(serves, _PATIENCE, group.shown)
    group.wait_until_serving(epoch=group.status()["epoch"], seconds=_PATIENCE)
    serving = observe(group, executor)
    open_to_all = [one for one in starting - serving if one.reached_by not in _CLOSED]
    assert not open_to_all, f"while it starts: {sorted(open_to_all)}"
    leaving = _while_it_drains(group, executor)
    assert leaving <= serving, f"while it leaves: {sorted(leaving - serving)}"
    # The head has gone, the worker waits for another one.
    for program in _PROGRAMS_OF_THE_ENGINE:
        eventually(partial(_ended, group, program), _PATIENCE, group.shown)
    always |= {one for one in observe(group, executor) if one.role == "worker"}
    assert always <= serving, f"without an engine: {sorted(always - serving)}"
    return {replace(one, when=ALWAYS if one in always else WITH_THE_ENGINE) for one in serving}


def _ended(group: LocalGroup, program: str) -> bool:
    return not group.processes("worker-1", program)


def _while_it_drains(group: LocalGroup, executor: ExecutorName) -> set[Listening]:
    """Seen between SIGTERM and the last answer; returns once the head has ended."""
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(group.ask, tokens=1500)
        eventually(lambda: group.api("/load")["server_load"], _PATIENCE, group.shown)
        stopped = threads.submit(group.act, "stop", "head")
        group.wait_for("draining")
        leaving = observe(group, executor)
        asked.exception(_PATIENCE)
        stopped.result(_PATIENCE)
    return leaving


def observe(group: LocalGroup, executor: ExecutorName) -> set[Listening]:
    """What every node that runs listens on now."""
    found: set[Listening] = set()
    for node in group.nodes:
        processes = _processes(node.pod)
        if not processes:
            continue
        held = {inode: process for process in processes for inode in _inodes(process)}
        for address, port, inode in _first_that_lives(processes):
            what = _what(_program(held.get(inode)))
            kind = _kind(address, node.address)
            found.add(Listening(executor, node.role, _number(port), kind, what))
    return found


def _processes(pod: str) -> list[Path]:
    """Those in a pod's network namespace: a process that names itself overwrites its environment."""
    wanted = f"POD_NAME={pod}".encode()
    everybody = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    namespaces = {_namespace(entry) for entry in everybody if wanted in _read(entry / "environ").split(b"\0")}
    return [entry for entry in everybody if _namespace(entry) in namespaces - {""}]


def _namespace(process: Path) -> str:
    try:
        return str((process / "ns" / "net").readlink())
    except OSError:
        return ""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _inodes(process: Path) -> Iterator[int]:
    try:
        for descriptor in (process / "fd").iterdir():
            if link := re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink())):
                yield int(link[1])
    except OSError:
        return


def _first_that_lives(processes: Sequence[Path]) -> list[tuple[str, int, int]]:
    for process in processes:
        with suppress(OSError):
            return list(_listeners(process))
    return []


def _listeners(process: Path) -> Iterator[tuple[str, int, int]]:
    """Address, port and inode of each listening TCP socket of a process's network namespace."""
    for table in ("tcp", "tcp6"):
        for line in (process / "net" / table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == _LISTEN:
                raw, port = local.split(":")
                yield _address(raw), int(port, 16), int(rest[5])


def _address(raw: str) -> str:
    """The kernel writes each word of four bytes in the machine's order."""
    words = [int(raw[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(raw), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words))


def _kind(address: str, own: str) -> str:
    parsed = ipaddress.ip_address(address)
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    if parsed.is_unspecified:
        return "all"
    if parsed.is_loopback:
        return "loopback"
    return "the pod's" if str(parsed) == own else address


def _number(port: int) -> str:
    if RANGE[0] <= port <= RANGE[1]:
        return "random"
    first, last = ports.RAY_WORKERS
    return f"{first}-{last}" if first <= port <= last else str(port)


def _program(process: Path | None) -> str:
    if process is None:
        return "?"
    words = _read(process / "cmdline").split(b"\0")
    return b" ".join(words).decode(errors="replace")


_PROGRAMS: Final = (
    ("gcs_server", "Ray's GCS"),
    ("raylet/raylet", "raylet"),
    ("dashboard/agent", "Ray's agent"),
    ("runtime_env/agent", "Ray's agent"),
    ("log_monitor", "Ray's log monitor"),
    ("monitor.py", "Ray's autoscaler"),
    ("dashboard/dashboard", "Ray's dashboard"),
    ("util.client.server", "Ray's client server"),
    # Which process of vLLM's it is cannot be told: those that are forked hold their parents' sockets too.
    ("EngineCore", "vLLM"),
    ("RayWorkerProc", "vLLM"),
    ("VLLM::Worker", "vLLM"),
    ("Agent", "Ray's agent"),
    # Ray's worker processes are there for vLLM's actors, and one may still be idle.
    ("ray::", "vLLM"),
    ("default_worker", "vLLM"),
    ("vllm serve", "vLLM"),
    ("vllm", "vLLM"),
    ("multinode", "the supervisor"),
)


def _what(command: str) -> str:
    return next((name for part, name in _PROGRAMS if part in command), command or "?")


def table(rows: Sequence[Listening]) -> str:
    """In Markdown."""
    titles = ("executor", "node", "port", "address", "who listens", "when", "who may reach it")
    cells = [
        (row.executor, row.role, row.port, row.address, row.what, row.when, row.reached_by) for row in rows
    ]
    lines = [f"| {' | '.join(line)} |\n" for line in (titles, *cells)]
    lines.insert(1, "|---" * len(titles) + "|\n")
    return "".join(lines)


def written() -> str:
    """The table in the document."""
    return DOCUMENT.read_text().partition(_BEGIN)[2].partition(_END)[0]


def main() -> None:
    """Run both executors, and write what they listen on into the document."""
    rows: set[Listening] = set()
    with tempfile.TemporaryDirectory(prefix="s") as name:
        folder = Path(name)
        model = make_model(folder / "model").directory
        for executor in EXECUTOR_NAMES:
            with ExitStack() as ends:

                def start(
                    specs: list[PodSpec],
                    later: list[str],
                    runs: Path = folder / executor,
                    ends: ExitStack = ends,
                ) -> LocalGroup:
                    group = open_group(runs, specs, later)
                    ends.enter_context(group.run)
                    return group

                rows |= seen(start, pods(model, executor, folder), executor)
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    DOCUMENT.write_text(before + _BEGIN + table(sorted(rows)) + _END + after)


if __name__ == "__main__":
    main()
