"""What our own launcher reads in its pods."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules.rule import (
    PREDICTOR,
    RUNTIMES,
    Case,
    Container,
    Found,
    Rule,
    always,
    is_ours,
)
from vllm_multinode.contract import env
from vllm_multinode.k8s.access import listed, mapping, number, text, variable

_KINDS: Final = ("InferenceService", *RUNTIMES, "LeaderWorkerSet")
_WRITING: Final = (*RUNTIMES, "LeaderWorkerSet")
_SIZE_FLAGS: Final = {
    "--tensor-parallel-size": "tensorParallelSize",
    "-tp": "tensorParallelSize",
    "--pipeline-parallel-size": "pipelineParallelSize",
    "-pp": "pipelineParallelSize",
}
_GRACE: Final = 30
"""Seconds of terminationGracePeriodSeconds where none are written."""
_DRAIN: Final = 20
"""Seconds of MULTINODE_DRAIN_TIMEOUT where none are written."""


def _ours(case: Case) -> Iterator[Container]:
    yield from (container for container in case.engines if is_ours(container.body))


def _generation(case: Case) -> Iterator[Found]:
    for container in _ours(case):
        if container.role == "head" and variable(container.body, env.GENERATION) is None:
            yield Found((*container.path, "env"))


def _pod_ip(case: Case) -> Iterator[Found]:
    for container in _ours(case):
        missing = [name for name in sorted(env.DOWNWARD) if variable(container.body, name) is None]
        if missing and case.document.kind != "InferenceService":
            yield Found((*container.path, "env"), f"{', '.join(missing)} is not asked of the downward API.")


def _unknown_setting(case: Case) -> Iterator[Found]:
    for container in case.containers:
        for index, entry in enumerate(listed(container.body, "env")):
            name = text(entry, "name")
            if name.startswith(env.PREFIX) and name not in env.OURS:
                what = f"{name} is no setting of the launcher, which leaves it unread."
                yield Found((*container.path, "env", index, "name"), what)


def _grace(case: Case) -> Iterator[Found]:
    if not case.multi_node:
        return
    head = case.runtime_container("head")
    index = variable(head, env.DRAIN_TIMEOUT)
    given = text(head, "env", index, "value") if index is not None else ""
    drain = float(given) if given.replace(".", "", 1).isdecimal() else float(_DRAIN)
    grace = number(case.body, *PREDICTOR, "terminationGracePeriodSeconds")
    if is_ours(head) and drain >= (_GRACE if grace is None else grace):
        what = (
            f"requests may drain for {drain:g} s, and the pod is killed {grace or _GRACE} s after "
            f"SIGTERM: the "
            "engine is not stopped in order."
        )
        yield Found((*PREDICTOR, "terminationGracePeriodSeconds"), what)


def _size_arguments(case: Case) -> Iterator[Found]:
    for container in case.containers:
        words = [str(word) for word in listed(container.body, "args")]
        for index, word in enumerate(words):
            flag, equals, value = word.partition("=")
            if flag in _SIZE_FLAGS:
                value = value if equals else (words[index + 1] if index + 1 < len(words) else "")
                size = _size(case, _SIZE_FLAGS[flag])
                if value.isdecimal() and size is not None and int(value) != size:
                    what = (
                        f"{flag} {value} contradicts {_SIZE_FLAGS[flag]}, which is {size}: the engine "
                        f"does not start."
                    )
                    yield Found((*container.path, "args", index), what)


def _size(case: Case, key: str) -> int | None:
    """A size as the document itself, or the InferenceService with its runtime, says it."""
    if case.document.kind == "InferenceService":
        return case.size(key) if case.multi_node else None
    return number(mapping(case.body, "spec", "workerSpec"), key)


RULES: Final = (
    Rule(
        "generation-unknown",
        "risk",
        "Without MULTINODE_GENERATION a head does not know its generation, and cannot refuse workers "
        "of another one "
        "during an update.",
        "Set it from the downward API: metadata.labels['isvc.generation'].",
        "docs/reference.md",
        _generation,
        RUNTIMES,
        always,
    ),
    Rule(
        "downward-api",
        "advice",
        "Without POD_IP, POD_NAME and POD_NAMESPACE the launcher guesses them from routes and host names.",
        "Ask the downward API for all three.",
        "docs/reference.md",
        _pod_ip,
        _WRITING,
        always,
    ),
    Rule(
        "setting-unknown",
        "risk",
        "A variable that begins with MULTINODE_ and is no setting of the launcher is not read.",
        "Correct its name; docs/reference.md lists them.",
        "docs/reference.md",
        _unknown_setting,
        _KINDS,
        always,
    ),
    Rule(
        "grace-period",
        "risk",
        "The pod is killed before its requests have drained and its engine is stopped.",
        "Raise spec.predictor.terminationGracePeriodSeconds above MULTINODE_DRAIN_TIMEOUT, for the "
        "workers as well.",
        "docs/reference.md",
        _grace,
    ),
    Rule(
        "size-arguments",
        "stalls",
        "An argument for vLLM contradicts TP or PP of the workerSpec: the engine does not start.",
        "Remove it; the launcher passes the sizes on.",
        "launcher's preflight",
        _size_arguments,
        ("InferenceService", *RUNTIMES),
    ),
)
