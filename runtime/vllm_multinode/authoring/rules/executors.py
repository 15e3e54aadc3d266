"""ray or mp: what KServe counts for, and what it reads the choice from."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules.rule import PREDICTOR, RUNTIMES, Case, Rule, simulated
from vllm_multinode.contract import env
from vllm_multinode.contract.executors import EXECUTORS, counted_by_kserve
from vllm_multinode.contract.finding import Edit, Finding, Path
from vllm_multinode.k8s.access import at, mapping, text, variable
from vllm_multinode.platforms import names
from vllm_multinode.platforms.releases import Release

_TABLE: Final = "the running controllers of v0.15.0 to v0.20.0"
_KINDS: Final = ("InferenceService", *RUNTIMES)
_EXECUTOR: Final[Path] = ("spec", "annotations", names.EXECUTOR)


def _annotated(release: Release) -> bool:
    return release.knows_mp_annotation


def _before_annotation(release: Release) -> bool:
    return release.counts_nodes_by_gpu_requests and not release.knows_mp_annotation


def _executor_value(case: Case) -> Iterator[Finding]:
    value = at(case.body, *_EXECUTOR)
    if isinstance(value, str) and value not in EXECUTORS:
        what = f"KServe knows only the executor mp: {value!r} counts as ray."
        fix = (Edit(_EXECUTOR, "mp"),) if value.strip().lower() == "mp" else ()
        yield Finding(_EXECUTOR, what, fix=fix)


def _executor_place(case: Case) -> Iterator[Finding]:
    places: tuple[Path, ...] = (("metadata", "annotations"),)
    if case.document.kind == "InferenceService":
        places += ((*PREDICTOR, "annotations"),)
    for place in places:
        if names.EXECUTOR in mapping(case.body, *place):
            yield Finding((*place, names.EXECUTOR))


def _executor_disagrees(case: Case) -> Iterator[Finding]:
    """MULTINODE_EXECUTOR of the head against the annotation that KServe counts by."""
    if case.document.kind not in RUNTIMES:
        return
    counted = counted_by_kserve(at(case.body, *_EXECUTOR))
    for container in case.containers:
        index = variable(container.body, env.EXECUTOR)
        value = text(container.body, "env", index, "value") if index is not None else ""
        started = next((executor for executor in EXECUTORS.values() if executor.name == value), None)
        if started is None or started.name == counted:
            continue
        message = f"{env.EXECUTOR} is {value}, and KServe counts nodes and GPUs for {counted}."
        hint = "Remove the annotation."
        if started.annotation:
            hint = f"Set {names.EXECUTOR}: {started.annotation} in spec.annotations."
        yield Finding((*container.path, "env", index or 0), message, hint)


RULES: Final = (
    Rule(
        id="executor-value",
        severity="risk",
        message="KServe knows only the executor mp and treats any other value as ray.",
        hint="Write mp, or remove the annotation.",
        seen=_TABLE,
        check=_executor_value,
        kinds=RUNTIMES,
        holds=_annotated,
    ),
    Rule(
        id="executor-place",
        severity="risk",
        message=(
            "KServe reads multinode/executor-backend from spec.annotations of the ServingRuntime only, "
            "and counts for ray if it is elsewhere."
        ),
        hint="Set it in spec.annotations of the ServingRuntime.",
        seen=_TABLE,
        check=_executor_place,
        kinds=_KINDS,
        holds=_annotated,
    ),
    Rule(
        id="executor-ignored",
        severity="stalls",
        message=(
            "KServe treats the executor mp as ray, because of its release or the "
            "annotation's spelling or place, and counts other nodes and GPUs than mp needs."
        ),
        hint=(
            "Write mp into spec.annotations of the ServingRuntime, from v0.18 on; before, request TP "
            "GPUs on head and worker."
        ),
        seen="recorded: mp-tp8-pp2 of v0.17.1",
        check=simulated("executor-ignored"),
    ),
    Rule(
        id="executor-disagrees",
        severity="risk",
        message="MULTINODE_EXECUTOR is not what KServe counts nodes and GPUs for.",
        hint=("Set multinode/executor-backend: mp in spec.annotations if and only if the executor is mp."),
        seen="the running controllers of v0.15.0 to v0.20.0",
        check=_executor_disagrees,
        kinds=RUNTIMES,
        holds=_annotated,
    ),
)
