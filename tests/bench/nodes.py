"""Two local nodes with the real engine: by our launcher, or by plain commands as a person would type them."""

import contextlib
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from vllm_multinode.contract import env, ports
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.launcher.commands.cpu import cpu_environment, write_vllm_metadata
from vllm_multinode.launcher.identity import installed_versions
from vllm_multinode.local.run import isvc
from vllm_multinode.local.run.localrun import Entrance, LocalRun, listen, url
from vllm_multinode.local.rundir import Runs
from vllm_multinode.local.world.pod_spec import HostMount, PodSpec
from vllm_multinode.local.world.protocol import Request
from vllm_multinode.platforms.kserve.environment import Service

Way = Literal["launcher", "by hand"]

# Equal for both ways where a row compares them; without them vLLM's own defaults hold.
LEAN: Final = (
    "--max-num-batched-tokens",
    "512",
    "--max-num-seqs",
    "8",
    "--num-gpu-blocks-override",
    "64",
    "--compilation-config",
    '{"mode":2,"backend":"eager"}',
)
# vLLM's own, spelled out, so that the launcher adds none of ours.
PLAIN: Final = ("--max-num-batched-tokens", "2048", "--max-num-seqs", "128", "--compilation-config", "{}")
_METADATA: Final = Path("/bench-metadata")
_START: Final = 600.0
_POLL: Final = 0.05


@dataclass(frozen=True)
class Nodes:
    """Two nodes that are starting or serving.

    Attributes:
        run: their run.
        api: URL of vLLM on the head.
        supervisor: URL of the head's supervisor; answers nothing by hand.
        began: `time.monotonic()` when the run was asked for.
    """

    run: LocalRun
    api: str
    supervisor: str
    began: float

    def first_completion(self) -> float:
        """Wait for the first completion.

        Returns:
            Seconds since `began`.
        """
        return wait_for_completion(self.api) - self.began

    def first_completion_after(self, moment: float) -> float:
        """Wait until the group has noticed and serves again; seconds since `moment`."""
        if wait_for_status(f"{self.supervisor}/ready", 503, 60) is None:
            raise TimeoutError("the loss was not noticed")
        return wait_for_completion(self.api) - moment

    def act(self, command: Literal["kill", "freeze", "thaw", "cut", "join"], node: str = "worker-1") -> float:
        """Do something to a node; returns `time.monotonic()` of just before."""
        before = time.monotonic()
        self.run.client.ask(Request(command=command, node=node))
        return before


@contextlib.contextmanager
def nodes(
    way: Way,
    executor: ExecutorName,
    model: Path,
    arguments: tuple[str, ...] = (),
    *,
    fork: bool = True,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Nodes]:
    """Start two nodes with PP 2, and end them."""
    local = isvc.LocalService(
        service=Service(name="llm", tensor_parallel=1, pipeline_parallel=2, nodes=2),
        model=model,
        executor=executor,
        args=("--dtype", "float32", *arguments),
        env={env.CPU_FORK: "1" if fork else "0", **(variables or {})},
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        pods = isvc.pods(local, isvc.cache_directory())
        if way == "by hand":
            write_vllm_metadata(Path(folder))
            pods = _by_hand(pods, executor, local.args, Path(folder))
        api, supervisor = listen(0), listen(0)
        api_url, supervisor_url = url(api), url(supervisor)
        entrances = (Entrance(api, "head", ports.API), Entrance(supervisor, "head", ports.SUPERVISOR))
        held = Runs.of_this_user().create(None, "bench")
        with LocalRun.start(held, pods, entrances) as run:
            yield Nodes(run, api_url, supervisor_url, began)


def _by_hand(
    pods: tuple[PodSpec, ...], executor: ExecutorName, arguments: tuple[str, ...], metadata: Path
) -> tuple[PodSpec, ...]:
    """The same pods with the commands that a person would type, and what the engine needs of its settings."""
    needs = cpu_environment(node_address="", interface="eth0", fork=False, version=installed_versions().vllm)
    found = []
    for rank, pod in enumerate(pods):
        command = _commands(executor, rank, " ".join(map(_quoted, arguments)))
        found.append(
            pod.model_copy(
                update={
                    "argv": ("/bin/sh", "-c", command),
                    "env": {**pod.env, **needs, "PYTHONPATH": str(_METADATA)},
                    "fields": {**pod.fields, "VLLM_HOST_IP": "status.podIP"},
                    "mounts": (*pod.mounts, HostMount(source=metadata, target=_METADATA)),
                }
            )
        )
    return tuple(found)


def _commands(executor: ExecutorName, rank: int, arguments: str) -> str:
    serve = "vllm serve /mnt/models --served-model-name llm --port 8080 --pipeline-parallel-size 2"
    serve = f"{serve} --distributed-executor-backend {executor} {arguments}"
    head = "$(getent hosts llm-head-1 | cut -d' ' -f1)"
    if executor == "mp":
        rest = f"--nnodes 2 --node-rank {rank} --master-addr {head} --master-port 29500"
        return f"exec {serve} {rest}{' --headless' if rank else ''}"
    start = "ray start --disable-usage-stats --num-gpus 1 --num-cpus 1 --object-store-memory 268435456"
    start = f"{start} --node-ip-address $POD_IP"
    if rank:
        return f"until {start} --address {head}:6379; do sleep 0.2; done; exec sleep infinity"
    return f"{start} --head --port 6379 --include-dashboard false && exec {serve}"


def _quoted(argument: str) -> str:
    return f"'{argument}'" if set(argument) & set('{}" ') else argument


def wait_for_completion(api: str) -> float:
    """Wait until vLLM answers a request for one token; returns `time.monotonic()` of the answer."""
    body = b'{"model": "llm", "prompt": "a", "max_tokens": 1}'
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        request = urllib.request.Request(
            f"{api}/v1/completions", data=body, headers={"Content-Type": "application/json"}
        )
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=60) as response:
            if response.status == 200:
                return time.monotonic()
        time.sleep(_POLL)
    raise TimeoutError(f"no completion within {_START:.0f} s")


def answers(where: str, timeout: float = 1) -> int:
    """HTTP status of a GET, 0 where nothing answers."""
    try:
        with urllib.request.urlopen(where, timeout=timeout) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def wait_for_status(where: str, wanted: int, timeout: float) -> float | None:
    """Wait until a GET answers with that status; returns `time.monotonic()`, or None after the timeout."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if answers(where) == wanted:
            return time.monotonic()
        time.sleep(_POLL / 5)
    return None
