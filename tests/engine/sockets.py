"""Which sockets a group's nodes listen on, with the real engine: the table of docs/security.md.

`scripts/sockets` runs both executors and writes the table; a test holds it to what it sees.
"""

import ipaddress
import re
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.services import LocalGroup, open_group, service
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
_TOKEN: Final = "the token of the group whose sockets are listed"


@dataclass(frozen=True, order=True)
class Listening:
    """One line of the table."""

    executor: str
    role: str
    port: str
    address: str
    what: str


def pods(model: Path, executor: ExecutorName, folder: Path) -> list[PodSpec]:
    """A group of two with a token and a bounded range of ports."""
    token = folder / "token"
    token.write_text(_TOKEN)
    mount = HostMount(source=token, target=Path("/secret/token"))
    local = service(model, executor=executor, env={"MULTINODE_TOKEN_FILE": "/secret/token"})
    sysctls = {"net.ipv4.ip_local_port_range": f"{RANGE[0]} {RANGE[1]}"}
    return [
        pod.model_copy(update={"mounts": (*pod.mounts, mount), "sysctls": sysctls})
        for pod in isvc.pods(local, isvc.cache_directory())
    ]


def observe(group: LocalGroup, executor: ExecutorName) -> set[Listening]:
    """What every node of a serving group listens on."""
    found: set[Listening] = set()
    for node in group.nodes:
        processes = list(_processes(node.pod))
        held = {inode: process for process in processes for inode in _inodes(process)}
        for address, port, inode in _listeners(processes[0]):
            what = _what(_program(held.get(inode)))
            kind = _kind(address, node.address)
            found.add(Listening(executor, node.role, _number(port), kind, what))
    return found


def _processes(pod: str) -> Iterator[Path]:
    """Those in a pod's network namespace: a process that names itself overwrites its environment."""
    wanted = f"POD_NAME={pod}".encode()
    everybody = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    namespace = next(
        _namespace(entry) for entry in everybody if wanted in _read(entry / "environ").split(b"\0")
    )
    return (entry for entry in everybody if _namespace(entry) == namespace)


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
    head = "| executor | node | port | address | who listens |\n|---|---|---|---|---|\n"
    lines = [f"| {row.executor} | {row.role} | {row.port} | {row.address} | {row.what} |\n" for row in rows]
    return head + "".join(lines)


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
            group = open_group(folder / executor, pods(model, executor, folder))
            with group.run:
                group.wait_until_serving(epoch=1, seconds=_PATIENCE)
                rows |= observe(group, executor)
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    DOCUMENT.write_text(before + _BEGIN + table(sorted(rows)) + _END + after)


if __name__ == "__main__":
    main()
