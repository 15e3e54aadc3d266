"""LeaderWorkerSets."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules.rule import LWS_TEMPLATE, Case, Container, Found, Rule, always, is_ours
from vllm_multinode.contract import env
from vllm_multinode.k8s.access import at, listed, number, text, variable
from vllm_multinode.platforms import gpus

_KINDS: Final = ("LeaderWorkerSet",)


def _leader(case: Case) -> Iterator[Container]:
    heads = [container for container in case.containers if container.role == "head"]
    yield from (container for container in heads or case.containers if is_ours(container.body))


def _value(container: Container, name: str) -> int | None:
    index = variable(container.body, name)
    value = text(container.body, "env", index, "value") if index is not None else ""
    return int(value) if value.isdecimal() and len(value) < 6 else None


def sizes_of(case: Case) -> tuple[int, int] | None:
    """TP and PP of a LeaderWorkerSet's leader; None where it does not say both."""
    for container in _leader(case):
        tensor, pipeline = (
            _value(container, name) for name in (env.TENSOR_PARALLEL_SIZE, env.PIPELINE_PARALLEL_SIZE)
        )
        return (tensor, pipeline) if tensor and pipeline else None
    return None


def _sizes(case: Case) -> Iterator[Found]:
    for container in _leader(case):
        for name in (env.TENSOR_PARALLEL_SIZE, env.PIPELINE_PARALLEL_SIZE):
            if variable(container.body, name) is None:
                what = (
                    f"{name} is not set on the leader, and a LeaderWorkerSet sets none: the launcher "
                    f"stops at once."
                )
                yield Found((*container.path, "env"), what, f"Set {name}.")


def _held(case: Case) -> Iterator[Found]:
    size = number(case.body, *LWS_TEMPLATE, "size") or 1
    for container in _leader(case):
        tensor = _value(container, env.TENSOR_PARALLEL_SIZE)
        pipeline = _value(container, env.PIPELINE_PARALLEL_SIZE)
        if tensor is None or pipeline is None:
            continue
        workers = [one for one in case.containers if one.role == "worker"]
        head_gpus = _gpus(container)
        worker_gpus = _gpus(workers[0]) if workers else head_gpus
        held = head_gpus + worker_gpus * (size - 1)
        if head_gpus and tensor * pipeline > held:
            what = (
                f"TP {tensor} x PP {pipeline} wants {tensor * pipeline} GPUs, and a group of {size} "
                f"pods holds "
                f"{held}: the launcher stops at once."
            )
            yield Found((*LWS_TEMPLATE, "size"), what)


def _gpus(container: Container) -> int:
    try:
        return gpus.held({"containers": [container.body]})[0]
    except (ValueError, ArithmeticError, AttributeError, TypeError):
        return 0


def _one_template(case: Case) -> Iterator[Found]:
    if at(case.body, *LWS_TEMPLATE, "leaderTemplate") is not None:
        return
    for container in case.containers:
        words = [*listed(container.body, "command"), *listed(container.body, "args")]
        if is_ours(container.body) and "worker" in words:
            yield Found(LWS_TEMPLATE)


def _restarts(case: Case) -> Iterator[Found]:
    policy = at(case.body, *LWS_TEMPLATE, "restartPolicy")
    if policy in (None, "RecreateGroupOnPodRestart", "Default") and any(True for _ in _leader(case)):
        yield Found((*LWS_TEMPLATE, "restartPolicy"))


RULES: Final = (
    Rule(
        "lws-sizes-missing",
        "stalls",
        "A LeaderWorkerSet sets no TP and PP, and without them our launcher stops at once.",
        "Set TENSOR_PARALLEL_SIZE and PIPELINE_PARALLEL_SIZE on the leader.",
        "launcher's settings",
        _sizes,
        _KINDS,
        always,
    ),
    Rule(
        "lws-gpus",
        "stalls",
        "TP x PP wants more GPUs than the group's pods hold, and our launcher stops at once.",
        "Raise leaderWorkerTemplate.size or the GPUs of its pods.",
        "launcher's preflight",
        _held,
        _KINDS,
        always,
    ),
    Rule(
        "lws-leader-missing",
        "stalls",
        "Without a leaderTemplate the leader runs the workers' template, so no pod is the head.",
        "Write a leaderTemplate that runs multinode head.",
        "LeaderWorkerSet's pod webhook",
        _one_template,
        _KINDS,
        always,
    ),
    Rule(
        "lws-restart-policy",
        "advice",
        "LeaderWorkerSet recreates every pod of a group when one restarts; our launcher heals the "
        "group in place, "
        "with the pods and the page cache kept.",
        "Set leaderWorkerTemplate.restartPolicy to None.",
        "LeaderWorkerSet's API",
        _restarts,
        _KINDS,
        always,
    ),
)
