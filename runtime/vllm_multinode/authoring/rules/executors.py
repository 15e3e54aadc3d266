"""ray or mp: what KServe counts for, and what it reads the choice from."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules.edits import Edit
from vllm_multinode.authoring.rules.rule import PREDICTOR, RUNTIMES, WORKER_SPEC, Case, Found, Rule
from vllm_multinode.contract import env
from vllm_multinode.contract.executors import EXECUTORS, counted_by_kserve
from vllm_multinode.k8s.access import Path, at, mapping, text, variable
from vllm_multinode.platforms import names
from vllm_multinode.platforms.kserve.nodes import Layout
from vllm_multinode.platforms.releases import Release

_TABLE: Final = "the running controllers of v0.15.0 to v0.20.0"
_KINDS: Final = ("InferenceService", *RUNTIMES)
_EXECUTOR: Final[Path] = ("spec", "annotations", names.EXECUTOR)


def _annotated(release: Release) -> bool:
    return release.knows_mp_annotation


def _before_annotation(release: Release) -> bool:
    return release.counts_nodes_by_gpu_requests and not release.knows_mp_annotation


def _executor_value(case: Case) -> Iterator[Found]:
    value = at(case.body, *_EXECUTOR)
    if isinstance(value, str) and value not in EXECUTORS:
        what = f"KServe knows the executor mp only: {value!r} is taken for ray."
        fix = (Edit(_EXECUTOR, "mp"),) if value.strip().lower() == "mp" else ()
        yield Found(_EXECUTOR, what, fix=fix)


def _executor_place(case: Case) -> Iterator[Found]:
    places: tuple[Path, ...] = (("metadata", "annotations"),)
    if case.document.kind == "InferenceService":
        places += ((*PREDICTOR, "annotations"),)
    for place in places:
        if names.EXECUTOR in mapping(case.body, *place):
            yield Found((*place, names.EXECUTOR))


def _executor_ignored(case: Case) -> Iterator[Found]:
    made = case.layout
    if not EXECUTORS[case.executor].node_per_stage or made is None:
        return
    nodes, gpus = case.size("pipelineParallelSize"), case.size("tensorParallelSize")
    if isinstance(made, Layout):
        if (made.nodes, made.head_gpus) == (nodes, gpus) and made.worker_gpus in (gpus, 0):
            return
        what = f"{made.nodes} nodes, {made.head_gpus} GPUs on the head and {made.worker_gpus} on a worker"
    else:
        what = "no pods"
    what = (
        f"{case.release.label} does not know {names.EXECUTOR}: it makes {what}, "
        f"where {case.executor} wants {nodes} nodes of {gpus}."
    )
    yield Found(WORKER_SPEC, what, f"Request {gpus} GPUs on head and worker.")


def _executor_disagrees(case: Case) -> Iterator[Found]:
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
        what = f"{env.EXECUTOR} is {value}, and KServe counts nodes and GPUs for {counted}."
        hint = "Remove the annotation."
        if started.annotation:
            hint = f"Set {names.EXECUTOR}: {started.annotation} in spec.annotations."
        yield Found((*container.path, "env", index or 0), what, hint)


RULES: Final = (
    Rule(
        "executor-value",
        "risk",
        "KServe knows the executor mp only and takes any other value for ray.",
        "Write mp, or remove the annotation.",
        _TABLE,
        _executor_value,
        RUNTIMES,
        _annotated,
    ),
    Rule(
        "executor-place",
        "risk",
        "KServe reads multinode/executor-backend from spec.annotations of the ServingRuntime only, "
        "and takes it for ray "
        "everywhere else.",
        "Write it into spec.annotations of the ServingRuntime.",
        _TABLE,
        _executor_place,
        _KINDS,
        _annotated,
    ),
    Rule(
        "executor-ignored",
        "stalls",
        "KServe before v0.18 does not know multinode/executor-backend: it counts nodes and GPUs for ray.",
        "Request TP GPUs on head and worker.",
        "recorded: mp-tp8-pp2 of v0.17.1",
        _executor_ignored,
        holds=_before_annotation,
    ),
    Rule(
        "executor-disagrees",
        "risk",
        "MULTINODE_EXECUTOR is not what KServe counts nodes and GPUs for.",
        "Set multinode/executor-backend: mp in spec.annotations where the executor is mp, and only there.",
        "the running controllers of v0.15.0 to v0.20.0",
        _executor_disagrees,
        RUNTIMES,
        _annotated,
    ),
)
