"""From a model and some accelerators to sizes, for Python."""

from collections.abc import Sequence
from os import PathLike, fspath

from vllm_multinode.api.model_source import named_model
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.versions import IMAGE
from vllm_multinode.engines.vllm import vllm_named
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.planner.choice import Plan
from vllm_multinode.sizing.planner.kv_cache import KvDtype
from vllm_multinode.sizing.planner.memory import UTILIZATION
from vllm_multinode.sizing.planner.plan import choose
from vllm_multinode.sizing.planner.request import GPUS_PER_NODE, Request, Settings, find_gpu


def plan(
    model: str | PathLike[str],
    gpu: str,
    *,
    gpus_per_node: int | Sequence[int] = 0,
    nodes: int = 0,
    context: int = 0,
    concurrency: int = 1,
    tensor_parallel: int = 0,
    pipeline_parallel: int = 0,
    executor: ExecutorName = DEFAULT_EXECUTOR,
    kv_dtype: KvDtype = "auto",
    gpu_memory_gib: float | None = None,
    utilization: float = UTILIZATION,
    vllm: str = IMAGE,
) -> Plan:
    """How many nodes a model needs, and which TP and PP; as `multinode plan` says it.

    Args:
        model: a folder, a config.json, hf://org/name[@revision], or a name of the catalogue.
        gpu: an accelerator or a node shape of the catalogue.
        gpus_per_node: of every node, or of each; 0 for the shape's, or eight.
        nodes: how many there are; 0 for as many as it takes.
        context: tokens of a request; 0 for the model's own limit.
        concurrency: requests at once.
        tensor_parallel: the only TP to look at; 0 for any.
        pipeline_parallel: the only PP to look at; 0 for any.
        executor: what spreads the engine over the nodes.
        kv_dtype: of the KV cache.
        gpu_memory_gib: of one GPU, instead of the catalogue's.
        utilization: part of it that vLLM may take.
        vllm: its version.

    Returns:
        A plan. `fits` says whether there is room; `spec_of` makes a deployment spec of it.

    Raises:
        MultinodeError: USAGE for an unknown name or counts that contradict each other; SIZES for what vLLM
            rejects; MODEL_MISSING, MODEL_CONFIG and their like for a folder that is not a model.
    """
    source = named_model(fspath(model))
    accelerator, in_shape, notes = find_gpu(gpu, gpu_memory_gib)
    counts = (gpus_per_node,) if isinstance(gpus_per_node, int) else tuple(gpus_per_node)
    if any(count < 0 for count in (*counts, nodes)) or not counts or (len(counts) > 1 and 0 in counts):
        raise MultinodeError(ExitCode.USAGE, "The numbers of GPUs and nodes must be positive.")
    if len(counts) > 1 and nodes not in (0, len(counts)):
        what = f"gpus_per_node lists {len(counts)} nodes, and nodes is {nodes}."
        raise MultinodeError(ExitCode.USAGE, what)
    each = max(counts) or in_shape or GPUS_PER_NODE
    request = Request(
        source=source,
        gpu=accelerator,
        node_gpus=counts if len(counts) > 1 else (each,) * nodes,
        gpus_per_node=each,
        context=context,
        concurrency=concurrency,
        kv_dtype=kv_dtype,
        executor=executor,
        utilization=utilization,
        tensor_parallel=tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        settings=Settings(version=vllm_named(vllm)),
        shape=None if in_shape is None else catalogue.shape(gpu),
        notes=notes,
    )
    return choose(request)
