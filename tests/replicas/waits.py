"""A plugin of vLLM, for nodes that share cores: its processes sleep while they wait for each other.

For a second after each step a worker asks for the next one without a pause. On cores of its own that is
fast. On shared ones it takes CPU time from the group's other processes, from those of one group more than
from those of another, and so makes their speeds differ.
"""

from pathlib import Path
from typing import Final

from vllm_multinode.local.world.pod_spec import HostMount, PodSpec

_MODULE: Final = '''\
from vllm.distributed.device_communicators.shm_broadcast import SpinCondition


def sleep():
    """Seconds that a reader asks without a pause before it sleeps until it is told: none."""
    assert SpinCondition.__init__.__defaults__ == (1,)
    SpinCondition.__init__.__defaults__ = (0,)
'''
_FILES: Final = {
    "sleeping_waits.py": _MODULE,
    "sleeping_waits-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: sleeping-waits\nVersion: 1\n",
    "sleeping_waits-1.dist-info/entry_points.txt": "[vllm.general_plugins]\nsleep = sleeping_waits:sleep\n",
}
_TARGET: Final = Path("/sleeping-waits")


def write_plugin(folder: Path) -> None:
    """As an installed distribution, which vLLM finds on its path."""
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def with_plugin(pod: PodSpec, folder: Path) -> PodSpec:
    """The pod, whose vLLM loads it.

    Args:
        pod: with the real engine.
        folder: that `write_plugin` has filled.
    """
    mount = HostMount(source=folder, target=_TARGET)
    return pod.model_copy(
        update={"env": {**pod.env, "PYTHONPATH": str(_TARGET)}, "mounts": (*pod.mounts, mount)}
    )
