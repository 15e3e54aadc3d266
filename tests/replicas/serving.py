"""Groups of two local nodes with the real engine."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from engine.services import LocalGroup, open_group, service
from replicas.waits import with_plugin, write_plugin
from vllm_multinode.local.run import isvc

# One request at a time in each engine, the others in its queue. Two stages have two batches, and a step costs
# a CPU about the same for many requests as for one: a group whose requests happen to fall into one batch is
# faster for minutes than one that has them in both.
_ARGUMENTS = ("--dtype", "float32", "--max-num-seqs", "1", "--num-gpu-blocks-override", "128")


@contextmanager
def serving(model: Path, count: int, patience: float) -> Iterator[list[LocalGroup]]:
    """Groups that serve, one started after the other: their imports would slow each other down.

    Args:
        model: directory of a model.
        count: of groups.
        patience: seconds that one may take to serve.
    """
    local = service(model, args=_ARGUMENTS, env={"MULTINODE_BACKOFF": "0"})
    groups = []
    with ExitStack() as ends:
        plugin = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="waits-")))
        write_plugin(plugin)
        for _ in range(count):
            folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="r-")))
            pods = isvc.pods(local, isvc.cache_directory())
            # On all cores: bound to their share of them, every group's head would sit on the same.
            everywhere = [pod.model_copy(update={"cpus": ()}) for pod in pods]
            group = open_group(folder / "runs", [with_plugin(pod, plugin) for pod in everywhere])
            ends.enter_context(group.run)
            group.wait_until_serving(1, patience)
            groups.append(group)
        yield groups
