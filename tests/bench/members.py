"""How many workers one head carries: simulated members, no engine."""

import asyncio
import contextlib
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.report import Figure
from vllm_multinode.checkpoint.model_directory import read_model
from vllm_multinode.contract import env
from vllm_multinode.launcher.handshake import PATH, WorkersSide
from vllm_multinode.launcher.identity import installed_versions
from vllm_multinode.launcher.messages import Beat, Claim, Hello, Identity
from vllm_multinode.launcher.settings import GroupName, heartbeat_interval

WORKERS = 1024
CURVE = (1, 7, 31, 127, 511, 1023, 2047, 4095)
"""Workers; with the head 2 to 4,096 members."""
PORT = 18081
HEARTBEAT = 5.0
_DEADLINE = 120.0
_QUIET = 10.0
_RETRY = 0.2


@dataclass(frozen=True)
class Scale:
    """What so many members cost their head; seconds where nothing else is said.

    Attributes:
        members: the head among them.
        joined: from the first request to join until all are members.
        silent: from the last heartbeat of one until it is noticed, beyond which the timeout is 5.
        closed: from the end of a connection until it is noticed.
        again: until that member has joined again.
        cpu: percent of a core for heartbeats, nothing else going on.
        resident: MiB.
    """

    members: int
    joined: float
    silent: float
    closed: float
    again: float
    cpu: float
    resident: float


def measure() -> list[Figure]:
    """Joining and losing one of 1,024 members."""
    scale = curve((WORKERS,))[0]
    return [
        Figure(f"{WORKERS} workers join one head", scale.joined, "s", "at most 5"),
        Figure("one of them falls silent: noticed after", scale.silent, "s", f"at most {HEARTBEAT:g} + 1"),
        Figure("one of them closes: noticed after", scale.closed, "s", "well under 1"),
        Figure("the group is whole again after", scale.again, "s", ""),
        Figure(f"head's heartbeats with {WORKERS} workers", scale.cpu, "%", "of a core"),
        Figure(f"head's resident memory with {WORKERS} workers", scale.resident, "MiB", ""),
    ]


def curve(workers: Sequence[int] = CURVE) -> list[Scale]:
    """One head after the other, with so many workers each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        return [_with(count) for count in workers]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _with(workers: int) -> Scale:
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        _write_model(model, layers=workers + 2)
        return asyncio.run(_measure(model, workers))


async def _measure(model: Path, workers: int) -> Scale:
    async with _head(model, workers) as head, _members(model, workers) as (joined_after, beating):
        before, began = cpu_seconds(head.pid), time.monotonic()
        await asyncio.sleep(_QUIET)
        cpu = (cpu_seconds(head.pid) - before) / (time.monotonic() - began) * 100
        resident = resident_mib(head.pid)
        began = time.monotonic()
        await beating.disconnect("worker-0")
        closed = await _until(workers, began)
        began = time.monotonic()
        await beating.join(beating.hellos["worker-0"])
        again = await _until(workers + 1, began)
        began = time.monotonic()
        beating.silence("worker-0")
        silent = await _until(workers, began)
    return Scale(workers + 1, joined_after, silent, closed, again, cpu, resident)


@contextlib.asynccontextmanager
async def _head(model: Path, workers: int) -> AsyncIterator["subprocess.Popen[bytes]"]:
    """A real head that waits for one worker more than will come, so that no engine is ever started."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(model.parent),
        env.TENSOR_PARALLEL_SIZE: "1",
        env.PIPELINE_PARALLEL_SIZE: str(workers + 2),
        env.RAY_NODE_COUNT: str(workers + 2),
        env.REQUEST_GPU_COUNT: "1",
        env.MODEL_NAME: "llm",
        env.MODEL_DIR: str(model),
        env.POD_IP: "127.0.0.1",
        env.ACCELERATOR: "cpu",
        env.SUPERVISOR_PORT: str(PORT),
        env.PORT: str(PORT + 1),
        env.RAY_PORT: str(PORT + 2),
        env.HEARTBEAT_TIMEOUT: str(HEARTBEAT),
        env.LOG_LEVEL: "error",
        env.WARM_RESTART: "false",
    }
    multinode = shutil.which("multinode", path=str(Path(sys.executable).parent)) or "multinode"
    argv = [multinode, "head", "--skip-tokenizer-init"]
    process = await asyncio.to_thread(subprocess.Popen, argv, env=environment)
    try:
        await _poll("the head", "status", lambda text: '"forming"' in text)
        yield process
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)


class _Beating:
    """The simulated workers' side: reads what comes, beats on time."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        # All come from one address here, which may have 256 connections that are not a member's yet.
        self._at_once = asyncio.Semaphore(128)
        self.hellos: dict[str, Hello] = {}
        self.links: dict[str, aiohttp.ClientWebSocketResponse] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self, hello: Hello) -> None:
        """As a worker does it: again until the head has taken it."""
        while True:
            try:
                await self._try(hello)
            except (aiohttp.ClientError, TypeError):
                await asyncio.sleep(_RETRY)
            else:
                return

    async def _try(self, hello: Hello) -> None:
        side = WorkersSide(None, Claim(pod=hello.identity.pod, group=hello.group), "")
        async with self._at_once:
            link = await self._session.ws_connect(f"http://127.0.0.1:{PORT}{PATH}", headers=side.headers())
            await link.send_str(hello.model_dump_json())
            await link.receive_str()
        self.links[hello.identity.pod] = link
        self.hellos[hello.identity.pod] = hello
        self._tasks.append(asyncio.create_task(self._read(link)))

    async def _read(self, link: aiohttp.ClientWebSocketResponse) -> None:
        async for _ in link:
            pass

    async def beat(self) -> None:
        text = Beat(epoch=0, state="forming").model_dump_json()
        while True:
            for link in list(self.links.values()):
                with contextlib.suppress(ConnectionError):
                    await link.send_str(text)
            await asyncio.sleep(heartbeat_interval(HEARTBEAT))

    def silence(self, pod: str) -> None:
        self.links.pop(pod)

    async def disconnect(self, pod: str) -> None:
        await self.links.pop(pod).close()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _members(model: Path, workers: int) -> AsyncIterator[tuple[float, _Beating]]:
    fingerprint = read_model(model).fingerprint
    versions = installed_versions()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        beating = _Beating(session)
        began = time.monotonic()
        hellos = [
            Hello(
                identity=Identity(
                    pod=f"worker-{number}",
                    address=f"10.{number >> 8}.{number & 255}.1",
                    accelerator="cpu",
                    gpus=1,
                    versions=versions,
                    model_dir=str(model),
                    fingerprint=fingerprint,
                ),
                group=GroupName(service="llm"),
            )
            for number in range(workers)
        ]
        # The first ones must not fall silent while the last ones join.
        heart = asyncio.create_task(beating.beat())
        try:
            await asyncio.gather(*(beating.join(hello) for hello in hellos))
            joined_after = await _until(workers + 1, began)
            yield joined_after, beating
        finally:
            heart.cancel()
            await beating.close()


async def _until(members: int, began: float) -> float:
    """Wait until the head counts so many, itself included; seconds since `began`."""
    await _poll(f"{members} members", "metrics", lambda text: f"\nmultinode_members {members}.0\n" in text)
    return time.monotonic() - began


async def _poll(what: str, path: str, wanted: Callable[[str], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://127.0.0.1:{PORT}/{path}") as response:
                    if wanted(await response.text()):
                        return
            await asyncio.sleep(0.05)
    raise TimeoutError(f"{what} did not come within {_DEADLINE:.0f} s")


def _write_model(directory: Path, layers: int) -> None:
    """A model directory that passes preflight: one tensor of four bytes."""
    directory.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "num_attention_heads": 1, "num_hidden_layers": layers}
    (directory / "config.json").write_text(json.dumps(config))
    header = json.dumps({"lm_head.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(4)
    (directory / "model.safetensors").write_bytes(content)


def cpu_seconds(pid: int) -> float:
    """Of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)
