"""LeaderWorkerSets."""

import math
from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules import commands
from vllm_multinode.authoring.rules.commands import Asked
from vllm_multinode.authoring.rules.rule import LWS_TEMPLATE, Case, Container, Rule, always, is_ours
from vllm_multinode.contract import env
from vllm_multinode.contract.finding import Finding
from vllm_multinode.contract.numbers import is_count
from vllm_multinode.k8s.access import at, listed, number, text, variable
from vllm_multinode.platforms import gpus

_KINDS: Final = ("LeaderWorkerSet",)


def _leaders(case: Case) -> list[Container]:
    """The containers of the leader's pod; without a leaderTemplate those of the workers' serve for both."""
    return [container for container in case.containers if container.role == "head"] or case.containers


def _leader(case: Case) -> Iterator[Container]:
    yield from (container for container in _leaders(case) if is_ours(container.body))


def _value(container: Container, name: str) -> int | None:
    index = variable(container.body, name)
    value = text(container.body, "env", index, "value") if index is not None else ""
    return int(value) if is_count(value) and len(value) < 6 else None


def _asked(case: Case) -> Iterator[tuple[Container, dict[str, Asked]]]:
    """The leader's containers that start an engine, with the sizes that their command lines ask for."""
    for container in _leaders(case):
        asked = commands.sizes(container.body, _group_size(case))
        if not is_ours(container.body) and ("tensor" in asked or commands.runs_engine(container.body)):
            yield container, asked


def _group_size(case: Case) -> int:
    return number(case.body, *LWS_TEMPLATE, "size") or 1


def sizes_of(case: Case) -> tuple[int, int] | None:
    """TP and PP of a LeaderWorkerSet's leader; None where it does not say both."""
    for container in _leader(case):
        tensor, pipeline = (
            _value(container, name) for name in (env.TENSOR_PARALLEL_SIZE, env.PIPELINE_PARALLEL_SIZE)
        )
        return (tensor, pipeline) if tensor and pipeline else None
    for _, asked in _asked(case):
        if "tensor" in asked or "pipeline" in asked:
            return tuple(asked[name].value if name in asked else 1 for name in ("tensor", "pipeline"))  # type: ignore[return-value]
    return None


def _sizes(case: Case) -> Iterator[Finding]:
    for container in _leader(case):
        for name in (env.TENSOR_PARALLEL_SIZE, env.PIPELINE_PARALLEL_SIZE):
            if variable(container.body, name) is None:
                what = (
                    f"{name} is not set on the leader, and a LeaderWorkerSet sets none: the launcher "
                    "stops at once."
                )
                yield Finding((*container.path, "env"), what, f"Set {name}.")


def _held(case: Case) -> Iterator[Finding]:
    for container in _leader(case):
        tensor = _value(container, env.TENSOR_PARALLEL_SIZE)
        pipeline = _value(container, env.PIPELINE_PARALLEL_SIZE)
        held = _gpus_of_group(case, container)
        if tensor and pipeline and held and tensor * pipeline > held:
            what = f"{_wanted(case, tensor * pipeline, held)}: the launcher stops at once."
            yield Finding((*LWS_TEMPLATE, "size"), f"TP {tensor} x PP {pipeline} needs {what}")
    for container, asked in _asked(case):
        world, told = _world(asked)
        held = _gpus_of_group(case, container)
        if held and world > held:
            path = (*container.path, *next(iter(asked.values())).path)
            yield Finding(
                path,
                f"{told} wants {_wanted(case, world, held)}: the engine waits for GPUs and does not start.",
            )


def _idle(case: Case) -> Iterator[Finding]:
    for container, asked in _asked(case):
        world, told = _world(asked)
        held = _gpus_of_group(case, container)
        if "data" not in asked and "tensor" in asked and world < held:
            path = (*container.path, *asked["tensor"].path)
            what = f"{told} uses {world} of the {held} GPUs of a group of {_group_size(case)} pods."
            yield Finding(path, what)


def _world(asked: dict[str, Asked]) -> tuple[int, str]:
    """Ranks that the command line asks for, and how it says so."""
    parts = [("TP", "tensor"), ("PP", "pipeline"), ("DP", "data")]
    given = [(label, asked[name].value) for label, name in parts if name in asked]
    return math.prod(value for _, value in given), " x ".join(f"{label} {value}" for label, value in given)


def _wanted(case: Case, world: int, held: int) -> str:
    return f"{world} GPUs, and a group of {_group_size(case)} pods has {held}"


def _node_count(case: Case) -> Iterator[Finding]:
    for container in case.containers:
        asked = commands.sizes(container.body, _group_size(case)).get("nodes")
        if asked is None or is_ours(container.body) or not commands.runs_engine(container.body):
            continue
        if asked.value != _group_size(case):
            ends = (
                "waits for nodes that never join" if asked.value > _group_size(case) else "leaves pods unused"
            )
            what = (
                f"{asked.flag} and leaderWorkerTemplate.size {_group_size(case)} differ: the engine {ends}."
            )
            yield Finding((*container.path, *asked.path), what)


def _gpus_of_group(case: Case, leader: Container) -> int:
    """GPUs that the group's pods hold; 0 where the leader names none."""
    workers = [one for one in case.containers if one.role == "worker"]
    head_gpus = _gpus(leader)
    worker_gpus = max(map(_gpus, workers), default=head_gpus)
    return head_gpus + worker_gpus * (_group_size(case) - 1) if head_gpus else 0


def _gpus(container: Container) -> int:
    """GPUs of a container; those that it tells Ray of, where it does."""
    told = commands.sizes(container.body).get("ray_gpus")
    if told is not None:
        return told.value
    try:
        return gpus.held({"containers": [container.body]})[0]
    except (ValueError, ArithmeticError, AttributeError, TypeError):
        return 0


def _one_template(case: Case) -> Iterator[Finding]:
    if at(case.body, *LWS_TEMPLATE, "leaderTemplate") is not None:
        return
    for container in case.containers:
        words = [*listed(container.body, "command"), *listed(container.body, "args")]
        if is_ours(container.body) and "worker" in words:
            yield Finding(LWS_TEMPLATE)


def _restarts(case: Case) -> Iterator[Finding]:
    policy = at(case.body, *LWS_TEMPLATE, "restartPolicy")
    if policy in (None, "RecreateGroupOnPodRestart", "Default") and any(True for _ in _leader(case)):
        yield Finding((*LWS_TEMPLATE, "restartPolicy"))


RULES: Final = (
    Rule(
        id="lws-sizes-missing",
        severity="stalls",
        message="A LeaderWorkerSet sets no TP and PP, and without them the launcher stops at once.",
        hint="Set TENSOR_PARALLEL_SIZE and PIPELINE_PARALLEL_SIZE on the leader.",
        seen="launcher's settings",
        check=_sizes,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="lws-gpus",
        severity="stalls",
        message="TP x PP needs more GPUs than the group's pods have, and the engine does not start.",
        hint="Raise leaderWorkerTemplate.size or the GPUs of its pods.",
        seen="launcher's preflight",
        check=_held,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="lws-gpus-idle",
        severity="risk",
        message="The engine's command line uses fewer GPUs than the group's pods have.",
        hint="Make TP x PP the GPUs of the group: TP those of a pod, PP the number of pods.",
        seen="vLLM's own parallelism",
        check=_idle,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="lws-nodes",
        severity="stalls",
        message="The engine's --nnodes is not the number of pods of a group.",
        hint="Write --nnodes $(LWS_GROUP_SIZE).",
        seen="vLLM's multi-node executor",
        check=_node_count,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="lws-leader-missing",
        severity="stalls",
        message="Without a leaderTemplate the leader runs the workers' template, so no pod is the head.",
        hint="Write a leaderTemplate that runs multinode head.",
        seen="LeaderWorkerSet's pod webhook",
        check=_one_template,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="lws-restart-policy",
        severity="advice",
        message=(
            "LeaderWorkerSet recreates every pod of a group when one restarts; the launcher heals the group "
            "in place and keeps pods and page cache."
        ),
        hint="Set leaderWorkerTemplate.restartPolicy to None.",
        seen="LeaderWorkerSet's API",
        check=_restarts,
        kinds=_KINDS,
        holds=always,
    ),
)
