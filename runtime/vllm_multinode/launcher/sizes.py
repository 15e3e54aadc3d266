"""Do TP and PP fit the nodes and their accelerators? Pure."""

from collections.abc import Mapping

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import EXECUTORS, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.settings import Sizes


def _refuse(what: str, hint: str) -> MultinodeError:
    return MultinodeError(ExitCode.SIZES, what, where=env.RAY_NODE_COUNT, hint=hint)


def check_sizes(executor: ExecutorName, sizes: Sizes, head_gpus: int | None) -> None:
    """What can be said before any worker has joined.

    Raises:
        MultinodeError: the nodes cannot hold TP x PP ranks.
    """
    product = f"TP {sizes.tensor_parallel} x PP {sizes.pipeline_parallel} = {sizes.world} ranks"
    if sizes.nodes > sizes.world:
        raise _refuse(
            f"{product} leave {sizes.nodes - sizes.world} of {sizes.nodes} nodes without work.",
            "Raise TP or PP, or give each node more accelerators so that KServe creates fewer nodes.",
        )
    if EXECUTORS[executor].equal_nodes and sizes.world % sizes.nodes:
        raise _refuse(
            f"{product} do not divide evenly over {sizes.nodes} nodes, as the {executor} executor needs.",
            "Choose PP as the number of nodes and TP as the accelerators of one node, or the ray executor.",
        )
    if head_gpus is None:
        return
    per_node = sizes.world // sizes.nodes
    if EXECUTORS[executor].equal_nodes and head_gpus < per_node:
        raise _refuse(
            f"{product} over {sizes.nodes} nodes need {per_node} accelerators per node; "
            f"this one has {head_gpus}.",
            "Request the same number on head and workers.",
        )
    if sizes.nodes == 1 and head_gpus < sizes.world:
        raise _refuse(
            f"{product} need {sizes.world} accelerators; the only node has {head_gpus}.",
            "Lower TP or PP, or add nodes.",
        )


def check_same_sizes(worker: str, sizes: Sizes, told: Sizes | None) -> None:
    """Refuse a worker that was told other sizes than its head.

    Raises:
        MultinodeError: with both.
    """
    if told is not None and told != sizes:
        raise _refuse(
            f"worker {worker} was told {_in_words(told)}, and its head {_in_words(sizes)}.",
            "Head and workers of one generation are given the same sizes.",
        )


def _in_words(sizes: Sizes) -> str:
    return f"TP {sizes.tensor_parallel}, PP {sizes.pipeline_parallel} on {sizes.nodes} nodes"


def check_members(
    executor: ExecutorName, sizes: Sizes, gpus: Mapping[str, int], *, whole: bool = True
) -> None:
    """What can be said of the members' accelerators.

    Args:
        executor: some want as many accelerators on every node as on the head.
        sizes: of the group.
        gpus: accelerators by member name, the head first.
        whole: these are all.

    Raises:
        MultinodeError: names the member that does not fit.
    """
    head, *workers = gpus
    if EXECUTORS[executor].equal_nodes:
        for worker in workers:
            if gpus[worker] != gpus[head]:
                raise _refuse(
                    f"head {head} has {gpus[head]} accelerators and worker {worker} has {gpus[worker]}; "
                    f"the {executor} executor needs the same number on every node.",
                    f"Request the same number on both, or set {env.EXECUTOR}=ray.",
                )
    held = sum(gpus.values())
    if whole and held < sizes.world:
        listed = ", ".join(f"{name} {count}" for name, count in gpus.items())
        raise _refuse(
            f"TP {sizes.tensor_parallel} x PP {sizes.pipeline_parallel} need {sizes.world} accelerators; "
            f"the group holds {held} ({listed}).",
            "Raise the requests of head or worker, or lower TP or PP.",
        )


def stages_of_node(sizes: Sizes, rank: int) -> range:
    """The pipeline stages of which a node holds ranks.

    Exact where every node has the same number of accelerators; an estimate under Ray with unequal ones.
    """
    per_node = max(sizes.world // sizes.nodes, 1)
    first = min(rank * per_node, sizes.world - 1)
    last = min(first + per_node, sizes.world) - 1
    return range(first // sizes.tensor_parallel, last // sizes.tensor_parallel + 1)
