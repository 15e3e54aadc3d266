"""InferenceServices whose engine is a stand-in, and what the stand-ins are told."""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vllm_multinode.local.run import isvc
from vllm_multinode.local.run.isvc import LocalService
from vllm_multinode.local.world.pod_spec import HostMount, PodSpec

HEARTBEAT = 2.0
"""Seconds; what a test of lost nodes waits for."""
_PROGRAMS = Path(__file__).parent / "programs"
_BIN, _CONTROL = Path("/stand-in"), Path("/stand-in-control")
_QUICK = {
    "MULTINODE_HEARTBEAT_TIMEOUT": f"{HEARTBEAT:g}",
    "MULTINODE_BACKOFF": "0",
    "MULTINODE_SHARED_MEMORY_MIN": "0",
}


class StandIns:
    """The stand-ins of one test's pods.

    Args:
        folder: for the programs, and for what they are told.
    """

    def __init__(self, folder: Path) -> None:
        self._bin, self._control, self._cache = (folder / name for name in ("bin", "control", "cache"))
        self._bin.mkdir()
        self._control.mkdir()
        for name in ("vllm", "ray"):
            program = f"{name}_stand_in.py"
            (self._bin / program).write_text((_PROGRAMS / program).read_text())
            # Not a first line that names Python: the kernel cuts a long one off.
            # Isolated, but for Python's own variables, which the supervisor sets.
            command = f'exec {shlex.quote(sys.executable)} -SPs {_BIN / program} "$@"'
            (self._bin / name).write_text(f"#!/bin/sh\n{command}\n")
            (self._bin / name).chmod(0o755)

    def take_spy(self) -> None:
        """A py-spy that can read no process, as in a container that may not trace."""
        spy = self._bin / "py-spy"
        spy.write_text("#!/bin/sh\nexit 1\n")
        spy.chmod(0o755)

    def pods(self, local: LocalService, suffix: str = "") -> list[PodSpec]:
        """The pods of an InferenceService, head first, with the stand-ins first on PATH.

        Args:
            local: what is to run.
            suffix: of the nodes' names, to tell two services of one run apart.
        """
        return [self._with_stand_in(pod, pod.node + suffix) for pod in isvc.pods(local, self._cache)]

    def _with_stand_in(self, pod: PodSpec, node: str) -> PodSpec:
        env = {**_QUICK, **pod.env}
        env |= {
            "PATH": f"{_BIN}{os.pathsep}{pod.env['PATH']}",
            "STAND_IN_NODE": node,
            "STAND_IN_CONTROL": str(_CONTROL),
        }
        mounts = (
            *pod.mounts,
            HostMount(source=self._bin, target=_BIN),
            HostMount(source=self._control, target=_CONTROL, read_only=False),
        )
        return pod.model_copy(update={"node": node, "env": env, "mounts": mounts})

    def tell(self, node: str, **what: Any) -> None:
        """Tell the stand-in of a node, now and after each start; what is not told here is forgotten."""
        file = self._control / f"{node}.json"
        temporary = file.with_suffix(".new")
        temporary.write_text(json.dumps(what))
        temporary.rename(file)

    def starts(self, node: str) -> list[Sequence[str]]:
        """The arguments of `vllm` at each of its starts on that node."""
        try:
            lines = (self._control / f"{node}.starts").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]


def changed(pod: PodSpec, **env: str) -> PodSpec:
    """That pod with some variables changed."""
    return pod.model_copy(update={"env": {**pod.env, **env}})


def value(arguments: Sequence[str], option: str) -> str:
    """What follows an option."""
    return arguments[arguments.index(option) + 1]


def never_restarted(pods: Sequence[PodSpec]) -> list[PodSpec]:
    """Those pods without the restarts that would hide how a container ended."""
    return [pod.model_copy(update={"restart": "never"}) for pod in pods]
