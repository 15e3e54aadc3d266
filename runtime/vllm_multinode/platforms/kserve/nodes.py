"""How many nodes KServe makes, and the accelerators of each."""

import math
from typing import NamedTuple

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import EXECUTORS, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.releases import Release


class Layout(NamedTuple):
    """Nodes (head included) and accelerators of the head and of each worker."""

    nodes: int
    head_gpus: int
    worker_gpus: int


def layout(
    release: Release,
    executor: ExecutorName,
    *,
    tensor_parallel: int,
    pipeline_parallel: int,
    head_gpus: int = 0,
    worker_gpus: int = 0,
) -> Layout:
    """Nodes and accelerators per pod, as that release counts them.

    Args:
        release: of KServe or OpenShift AI.
        executor: `mp` only where the ServingRuntime is annotated `multinode/executor-backend: mp`.
        tensor_parallel: TP of the workerSpec.
        pipeline_parallel: PP of the workerSpec.
        head_gpus: accelerators requested by the head container, 0 where unset.
        worker_gpus: accelerators requested by the worker container, 0 where unset.

    Raises:
        MultinodeError: the requested accelerators hold more than TP x PP; KServe reports
            InvalidGPUAllocation then.
    """
    by_stage = EXECUTORS[executor].node_per_stage and release.knows_mp_annotation
    if by_stage or not release.counts_nodes_by_gpu_requests:
        return Layout(pipeline_parallel, tensor_parallel, tensor_parallel)
    total = tensor_parallel * pipeline_parallel
    if worker_gpus > 0:
        if head_gpus >= total:
            return Layout(1, total, 0)
        nodes = math.ceil(total / worker_gpus)
        if head_gpus == 0:
            head_gpus = total - worker_gpus * (nodes - 1)
        if nodes == 1:
            return Layout(1, total, 0)
        found = Layout(nodes, head_gpus, worker_gpus)
    elif head_gpus > 0:
        found = Layout(max(total - head_gpus, 0) + 1, head_gpus, 1)
    else:
        found = Layout(total, 1, 1)
    held = found.head_gpus + found.worker_gpus * (found.nodes - 1)
    if total > held:
        raise MultinodeError(
            ExitCode.SIZES,
            f"TP {tensor_parallel} x PP {pipeline_parallel} needs {total} accelerators; head "
            f"{found.head_gpus} and {found.nodes - 1} workers of {found.worker_gpus} hold {held}.",
            hint="KServe reports InvalidGPUAllocation; raise the requests of head or worker.",
        )
    return found
