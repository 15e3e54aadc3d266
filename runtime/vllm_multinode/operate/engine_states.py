"""What is wrong with an engine, from its counters and its last words. Pure."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from vllm_multinode.cluster.pod_states import Trouble, of_cause
from vllm_multinode.cluster.transport import Object
from vllm_multinode.contract.text import shown
from vllm_multinode.operate import numbers
from vllm_multinode.operate.numbers import Numbers
from vllm_multinode.operate.observation import Observation, pod_name
from vllm_multinode.operate.reading import incidents, items, text, whole

_FULL: Final = 0.95
_MANY: Final = 8
_OFTEN: Final = 0.1
"""Preemptions for each request that has finished."""
_LONGEST: Final = 300
_LAST_WORDS: Final = (
    ("gpu-memory", r"CUDA out of memory|torch\.(?:cuda\.)?OutOfMemoryError|HIP out of memory"),
    # The supervisor's own words (launcher.deaths).
    ("memory-killed", r"killed by the kernel because the container's memory limit"),
    ("cache-too-small", r"No available memory for the cache blocks"),
    (
        "cache-too-small",
        r"larger than the (?:maximum number of tokens that can be stored in|available) KV cache",
    ),
    (
        "driver-too-old",
        r"CUDA driver version is insufficient|NVIDIA driver on your system is too old|Error 803:",
    ),
    (
        "gpu-lost",
        r"uncorrectable ECC error|fallen off the bus|NVRM: Xid|CUDA error: device.*(?:lost|unavailable)",
    ),
    ("architecture-unknown", r"[Mm]odel architectures? .* (?:is|are) not supported"),
    ("remote-code", r"trust_remote_code=True|custom code which must be executed"),
    ("model-gated", r"GatedRepoError|gated repo|40[13] Client Error: (?:Unauthorized|Forbidden) for url"),
    ("nccl-error", r"NCCL error|ncclSystemError|ncclRemoteError|ncclInternalError|unhandled system error"),
)
"""Cause -> what an engine writes when it ends of it; vLLM's, torch's, NCCL's and huggingface_hub's words."""
_ALIKE: Final = 0.6
"""Of the largest room; embeddings and the head take less than the rest from first and last stages."""
_ROOM: Final = re.compile(
    r"^(?:.*?\((\w*Worker\w*)[^)]*\))?.*Available KV cache memory: ([\d.,]+) GiB", re.MULTILINE
)
"""vLLM's line of each rank as it starts."""
_SOCKETS: Final = re.compile(r"NET/Socket|Using network Socket")
_RDMA_DEVICE: Final = re.compile(r"rdma|infiniband|roce|vpc\.amazonaws\.com/efa", re.IGNORECASE)
_RDMA_VARIABLE: Final = ("NCCL_IB_HCA", "FI_PROVIDER")


def of_engine(seen: Observation) -> Iterator[Trouble]:
    """What stops or harms the engines of a service."""
    if not seen.snapshot.ready:
        yield from _last_words(seen)
    for pod, found in seen.engines.items():
        if text(seen.supervisors.get(pod, {}), "state") != "serving":
            continue
        if found is None:
            yield of_cause(
                "engine-silent", f"pod {pod}", "reports that it serves, but its engine does not answer."
            )
        else:
            yield from _counters(pod, found)
    yield from _network(seen)
    yield from _unlike(seen)


def _unlike(seen: Observation) -> Iterator[Trouble]:
    """Ranks that have much less room for the cache than others, or nodes with fewer GPUs."""
    room: dict[str, float] = {}
    for pod in map(pod_name, seen.snapshot.current):
        for found in _ROOM.finditer(seen.logs.get(pod, "")):
            # Of several starts the last one counts.
            room[f"{found[1] or 'worker'} of pod {pod}"] = float(found[2].replace(",", ""))
    least, most = min(room, key=room.__getitem__, default=""), max(room, key=room.__getitem__, default="")
    if room and room[least] < _ALIKE * room[most]:
        what = f"has {room[least]:g} GiB for its KV cache, and {most} has {room[most]:g} GiB."
        yield of_cause("stages-unlike", least, what)
    gpus = {text(one, "name"): whole(one, "gpus") for one in items(seen.head_status, "members")}
    counts = {name: count for name, count in gpus.items() if count is not None}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        yield of_cause("stages-unlike", seen.title, f"its nodes have different numbers of GPUs: {told}.")


def _counters(pod: str, found: Numbers) -> Iterator[Trouble]:
    subject = f"pod {pod}"
    used, waiting = found.highest(*numbers.CACHE_USED), found.total(numbers.WAITING) or 0
    running = found.total(numbers.RUNNING) or 0
    if used is not None and used >= _FULL and waiting > 0:
        yield of_cause(
            "cache-full", subject, f"uses {used:.0%} of its KV cache, and {waiting:.0f} requests wait."
        )
    elif waiting >= _MANY and waiting > running:
        yield of_cause("queue", subject, f"runs {running:.0f} requests, and {waiting:.0f} wait.")
    preempted, finished = found.total(numbers.PREEMPTIONS) or 0, found.total(numbers.FINISHED) or 0
    if preempted >= _MANY and preempted > _OFTEN * finished:
        what = f"has preempted {preempted:.0f} requests, and finished {finished:.0f}."
        yield of_cause("preemptions", subject, what)


def _last_words(seen: Observation) -> Iterator[Trouble]:
    """Of an engine that has ended: the latest that is known stands for all."""
    for subject, line in _said(seen):
        for cause, pattern in _LAST_WORDS:
            if re.search(pattern, line):
                yield of_cause(cause, subject, f"reports: {shown(line, _LONGEST)}")
                return


def _said(seen: Observation) -> Iterator[tuple[str, str]]:
    """What may hold an engine's last words, the newest first."""
    for pod, said in seen.supervisors.items():
        yield f"pod {pod}", text(said, "reason")
        for one in reversed(incidents(said)):
            yield f"pod {pod}", one.reason
    for ended in seen.snapshot.current:
        yield from ((f"pod {pod_name(ended)}", message) for message in _terminations(ended))
    for name, log in seen.logs.items():
        yield from ((f"pod {name}", line) for line in reversed(log.splitlines()))


def _terminations(pod: Object) -> Iterable[str]:
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        for state in ("state", "lastState"):
            ended = (container.get(state) or {}).get("terminated") or {}
            if ended.get("message"):
                yield str(ended["message"])


def _network(seen: Observation) -> Iterator[Trouble]:
    """NCCL says which network it took as it starts, where NCCL_DEBUG=INFO asks it to."""
    for pod in seen.snapshot.current:
        name = pod_name(pod)
        line = next((one for one in seen.logs.get(name, "").splitlines() if _SOCKETS.search(one)), "")
        if line and (device := _rdma(pod)):
            what = f"asks for {device}, and NCCL says: {shown(line, _LONGEST)}"
            yield of_cause("rdma-unused", f"pod {name}", what)


def _rdma(pod: Object) -> str:
    """The device or the variable by which a pod asks for RDMA; empty where it does not."""
    for container in (pod.get("spec") or {}).get("containers") or []:
        resources = container.get("resources") or {}
        for name in {**(resources.get("requests") or {}), **(resources.get("limits") or {})}:
            if _RDMA_DEVICE.search(name):
                return str(name)
        for entry in container.get("env") or []:
            if entry.get("name") in _RDMA_VARIABLE:
                return str(entry["name"])
    return ""
