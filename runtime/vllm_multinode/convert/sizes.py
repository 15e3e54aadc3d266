"""Sizes that a source leaves open are planned; those that it states are held against the plan."""

from dataclasses import replace
from typing import Final

from vllm_multinode.authoring.planned import spec_of
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.convert.draft import Draft
from vllm_multinode.k8s.quantity import parse
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.model.sources import Source, find_model
from vllm_multinode.sizing.planner.choice import Plan
from vllm_multinode.sizing.planner.memory import UTILIZATION
from vllm_multinode.sizing.planner.plan import choose
from vllm_multinode.sizing.planner.request import Request, equal_nodes, find_gpu

_HUB: Final = "hf://"
_GIB: Final = 1 << 30
_USUAL: Final = "16Gi"
"""Of /dev/shm, where a spec says nothing."""
_BY_HAND: Final = "Set parallelism.tensor and parallelism.pipeline."


def complete(draft: Draft) -> None:
    """Write the sizes that are open, and note what the plan says of those that are not."""
    source = _known_model(draft)
    if source is not None:
        _model_size(draft, source)
    _shared_memory(draft)
    tensor, pipeline = draft.get("parallelism.tensor") or 0, draft.get("parallelism.pipeline") or 0
    if source is None or not draft.gpu:
        _without_plan(draft, tensor, pipeline, source)
        return
    try:
        request = _request(draft, source)
        stated = bool(tensor or pipeline)
        plan = choose(
            replace(request, tensor_parallel=tensor, pipeline_parallel=pipeline) if stated else request
        )
    except MultinodeError as error:
        draft.notes.append(f"The plan rejects it: {error.what}")
        _without_plan(draft, tensor, pipeline, source)
        return
    if stated:
        _hold(draft, plan, tensor, pipeline)
    else:
        _choose(draft, plan)


def _known_model(draft: Draft) -> Source | None:
    """The model as the catalogue has it: no network is asked."""
    address = str(draft.get("model.source") or "")
    if not address.startswith(_HUB):
        return None
    name = address.removeprefix(_HUB).partition("@")[0]
    if catalogue.find("model", name) is None:
        return None
    return find_model(name)


def _shared_memory(draft: Draft) -> None:
    """A pod with little memory gets a /dev/shm that fits in it: what is written there counts as memory."""
    limit = draft.get("resources.memoryLimit")
    try:
        least = parse(str(limit)) if limit is not None else None
    except ValueError:
        return
    if draft.get("sharedMemory") is None and least is not None and least <= 2 * parse(_USUAL):
        size = f"{max(1, int(least / 4) // _GIB)}Gi"
        draft.set("sharedMemory", size)
        draft.notes.append(f"Shared memory is {size}: the source limits its pods to {limit} of memory.")


def _model_size(draft: Draft, source: Source) -> None:
    if draft.get("model.size") is None:
        draft.set("model.size", f"{-(-source.checkpoint_bytes // _GIB)}Gi")


def _request(draft: Draft, source: Source) -> Request:
    gpu, in_shape, notes = find_gpu(draft.gpu)
    each = draft.get("accelerator.perNode") or in_shape or 1
    nodes = draft.nodes or draft.most_nodes
    context = draft.get("context")
    asked = context if isinstance(context, int) else draft.plan_context
    limit = source.model.max_context
    utilization = (draft.get("arguments") or {}).get("gpu-memory-utilization")
    return Request(
        source=source,
        gpu=gpu,
        node_gpus=equal_nodes(nodes, each),
        gpus_per_node=each,
        context=min(asked, limit) if limit else asked,
        notes=notes,
        utilization=float(utilization) if isinstance(utilization, int | float) else UTILIZATION,
    )


def _choose(draft: Draft, plan: Plan) -> None:
    best = plan.best
    if best is None or not plan.fits:
        smallest = f" The smallest that fits: {plan.smallest.label}." if plan.smallest else ""
        draft.notes.append(f"{plan.request.source.name} does not fit on {_hardware(draft)}.{smallest}")
        chosen = plan.smallest
        if chosen is None:
            draft.todo(_BY_HAND)
            return
        draft.todo(f"Give it {chosen.nodes} nodes: the source has too few.")
        best = chosen
    draft.set("parallelism.tensor", best.tensor_parallel)
    draft.set("parallelism.pipeline", best.pipeline_parallel)
    draft.set("accelerator.perNode", best.tensor_parallel * best.pipeline_parallel // best.nodes)
    draft.notes.append(f"The plan chose {best.label}: the source states no sizes.")
    if plan.fits:
        _add_figures(draft, plan)
    if best.nodes == 1:
        draft.notes.append("It fits one node, so there are no workers.")


def _hold(draft: Draft, plan: Plan, tensor: int, pipeline: int) -> None:
    """The sizes stay as the source states them; whether they work is said."""
    best = plan.best
    stated = f"TP {tensor or 1}, PP {pipeline or 1}"
    if best is None or plan.verdict == "does-not-fit":
        other = f" The plan would take {plan.smallest.label}." if plan.smallest else ""
        draft.notes.append(f"{stated} as in the source does not fit on {_hardware(draft)}.{other}")
        draft.todo(f"Check the sizes: {stated} does not fit on {_hardware(draft)}.")
    elif plan.verdict == "within-error":
        draft.notes.append(f"{stated} as in the source fits only within the plan's error.")
    else:
        better = f"; the plan would take {plan.alternatives[0].label}" if plan.alternatives else ""
        draft.notes.append(f"{stated} as in the source fits on {_hardware(draft)}{better}.")
    if best is not None and plan.fits:
        _add_figures(draft, plan)
    _check_nodes(draft, tensor or 1, pipeline or 1)


def _add_figures(draft: Draft, plan: Plan) -> None:
    """What the plan says of pods and claim, where the source does not."""
    planned = spec_of(plan, name="planned").model_dump(
        mode="json", by_alias=True, exclude_unset=True, exclude_none=True
    )
    for target in ("resources", "sharedMemory", "startup", "model.createClaim"):
        value = planned
        for part in target.split("."):
            value = value.get(part, {})
        if value and draft.get(target) is None and (target != "model.createClaim" or _needs_claim(draft)):
            draft.set(target, value)


def _needs_claim(draft: Draft) -> bool:
    return bool(draft.get("model.source")) and draft.get("model.claim") is None


def _without_plan(draft: Draft, tensor: int, pipeline: int, source: Source | None) -> None:
    per_node, nodes = draft.get("accelerator.perNode"), draft.nodes
    if tensor or pipeline:
        why = "its model is not in the catalogue" if source is None else "its GPU is not known"
        draft.notes.append(
            f"TP {tensor or 1}, PP {pipeline or 1} are the source's; {why}, so they were not checked."
        )
        _check_nodes(draft, tensor or 1, pipeline or 1)
    elif per_node and nodes:
        draft.set("parallelism.tensor", per_node)
        draft.set("parallelism.pipeline", nodes)
        draft.notes.append(
            f"TP {per_node} of each node's GPUs and PP {nodes} of the nodes; nothing was planned."
        )
    else:
        draft.todo(_BY_HAND)


def _check_nodes(draft: Draft, tensor: int, pipeline: int) -> None:
    per_node = draft.get("accelerator.perNode") or tensor
    nodes = -(-tensor * pipeline // per_node)
    if draft.nodes and draft.nodes != nodes:
        draft.notes.append(
            f"The source has {draft.nodes} nodes of {per_node} GPUs; TP {tensor} x PP {pipeline} is {nodes}."
        )
        draft.todo(
            f"Check the sizes: the source's {draft.nodes} nodes and TP {tensor} x PP {pipeline} disagree."
        )


def _hardware(draft: Draft) -> str:
    nodes, each = draft.nodes or draft.most_nodes, draft.get("accelerator.perNode")
    if catalogue.find("shape", draft.gpu) is None and each:
        each_node = f"{each} x {draft.gpu}"
        return f"{nodes} nodes of {each_node}" if nodes else f"nodes of {each_node}"
    return f"{nodes} x {draft.gpu}" if nodes else draft.gpu
