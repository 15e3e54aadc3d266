"""What our own launcher reads in its pods."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.foreign import DATA_PARALLEL
from vllm_multinode.authoring.rules.commands import sizes
from vllm_multinode.authoring.rules.rule import PREDICTOR, RUNTIMES, Case, Container, Rule, always, is_ours
from vllm_multinode.contract import env
from vllm_multinode.contract.finding import Finding
from vllm_multinode.contract.numbers import decimal
from vllm_multinode.k8s.access import listed, mapping, number, text, variable

_KINDS: Final = ("InferenceService", *RUNTIMES, "LeaderWorkerSet")
_WRITING: Final = (*RUNTIMES, "LeaderWorkerSet")
_SIZE_FLAGS: Final = {"tensor": "tensorParallelSize", "pipeline": "pipelineParallelSize"}
_GRACE: Final = 30
"""Seconds of terminationGracePeriodSeconds where none are written."""
_DRAIN: Final = 20
"""Seconds of MULTINODE_DRAIN_TIMEOUT where none are written."""


def _ours(case: Case) -> Iterator[Container]:
    yield from (container for container in case.engines if is_ours(container.body))


def _generation(case: Case) -> Iterator[Finding]:
    for container in _ours(case):
        if container.role == "head" and variable(container.body, env.GENERATION) is None:
            yield Finding((*container.path, "env"))


def _pod_ip(case: Case) -> Iterator[Finding]:
    for container in _ours(case):
        missing = [name for name in sorted(env.DOWNWARD) if variable(container.body, name) is None]
        if missing and case.document.kind != "InferenceService":
            yield Finding((*container.path, "env"), f"{', '.join(missing)} is not set from the downward API.")


def _unknown_setting(case: Case) -> Iterator[Finding]:
    for container in case.containers:
        for index, entry in enumerate(listed(container.body, "env")):
            for name, nearest in env.unknown([text(entry, "name")]).items():
                what = f"{name} is not a setting of the launcher, which ignores it."
                hint = f"Write {nearest}." if nearest else ""
                yield Finding((*container.path, "env", index, "name"), what, hint)


def _grace(case: Case) -> Iterator[Finding]:
    if not case.multi_node:
        return
    head = case.runtime_container("head")
    index = variable(head, env.DRAIN_TIMEOUT)
    given = text(head, "env", index, "value") if index is not None else ""
    try:
        drain = decimal(given)
    except ValueError:
        drain = float(_DRAIN)
    grace = number(case.body, *PREDICTOR, "terminationGracePeriodSeconds")
    if is_ours(head) and drain >= (_GRACE if grace is None else grace):
        what = (
            f"requests may drain for {drain:g} s, and the pod is killed {grace or _GRACE} s after SIGTERM: "
            "the engine cannot shut down cleanly."
        )
        yield Finding((*PREDICTOR, "terminationGracePeriodSeconds"), what)


def _size_arguments(case: Case) -> Iterator[Finding]:
    for container in case.containers:
        asked = sizes(container.body)
        for name, key in _SIZE_FLAGS.items():
            size = _size(case, key)
            if name in asked and size is not None and asked[name].value != size:
                what = f"{asked[name].flag} contradicts {key}, which is {size}: the engine does not start."
                yield Finding((*container.path, *asked[name].path), what)


def _data_parallel(case: Case) -> Iterator[Finding]:
    if case.document.kind == "InferenceService" and not case.multi_node:
        return
    for container in case.containers:
        asked = sizes(container.body).get("data")
        if asked is not None and asked.value > 1:
            what = (
                f"{asked.flag} asks for {asked.value} engines, but KServe creates the nodes "
                "of one: it does not start."
            )
            yield Finding((*container.path, *asked.path), what)


def _size(case: Case, key: str) -> int | None:
    """A size as the document itself, or the InferenceService with its runtime, says it."""
    if case.document.kind == "InferenceService":
        return case.size(key) if case.multi_node else None
    return number(mapping(case.body, "spec", "workerSpec"), key)


RULES: Final = (
    Rule(
        id="generation-unknown",
        severity="risk",
        message=(
            "Without MULTINODE_GENERATION a head does not know its generation, and cannot reject "
            "workers of another one during an update."
        ),
        hint="Set it from the downward API: metadata.labels['isvc.generation'].",
        seen="docs/variables.md",
        check=_generation,
        kinds=RUNTIMES,
        holds=always,
    ),
    Rule(
        id="downward-api",
        severity="advice",
        message=(
            "Without POD_IP, POD_NAME and POD_NAMESPACE the launcher guesses them from routes and host names."
        ),
        hint="Set all three from the downward API.",
        seen="docs/variables.md",
        check=_pod_ip,
        kinds=_WRITING,
        holds=always,
    ),
    Rule(
        id="setting-unknown",
        severity="risk",
        message="A variable that begins with MULTINODE_ and is not a setting of the launcher is ignored.",
        hint="Correct its name; docs/variables.md lists them.",
        seen="docs/variables.md",
        check=_unknown_setting,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="grace-period",
        severity="risk",
        message="The pod is killed before its requests have drained and its engine is stopped.",
        hint=(
            "Raise spec.predictor.terminationGracePeriodSeconds above MULTINODE_DRAIN_TIMEOUT, for the "
            "workers as well."
        ),
        seen="docs/variables.md",
        check=_grace,
    ),
    Rule(
        id="size-arguments",
        severity="stalls",
        message="An argument for vLLM contradicts TP or PP of the workerSpec: the engine does not start.",
        hint="Remove it; the launcher sets the sizes.",
        seen="launcher's preflight",
        check=_size_arguments,
        kinds=("InferenceService", *RUNTIMES),
    ),
    Rule(
        id="data-parallel",
        severity="stalls",
        message=(
            "KServe creates the nodes of one engine of TP x PP; --data-parallel-size asks for several "
            "engines."
        ),
        hint=f"Remove it: {DATA_PARALLEL}.",
        seen="vLLM's arguments; KServe's node count",
        check=_data_parallel,
        kinds=("InferenceService", *RUNTIMES),
    ),
)
