"""Worlds of stand-in pods: real namespaces, no engine."""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.run.localrun import Entrance, LocalRun, listen, url
from vllm_multinode.local.rundir import Runs
from vllm_multinode.local.world.pod_spec import HostMount, PodSpec, Role
from vllm_multinode.local.world.protocol import NodeStatus, Request

STAND_IN = Path(__file__).parent / "stand_in.py"
PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"
PATIENCE = 10.0


def eventually(what: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What `what` returns as soon as that is true; fails when it is not in time."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
    return found


def processes_with(marker: str) -> list[int]:
    """The processes of this machine that have `marker` in their environment or command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in text:
                found.append(int(entry.name))
    return found


def process_state(pid: int) -> str:
    """One letter; see proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def stand_in(node: str, role: Role, model: Path, **changes: Any) -> PodSpec:
    spec = PodSpec(
        node=node,
        role=role,
        generate_name=f"test-{role}-",
        argv=(str(STAND_IN), "one", "two words"),
        env={"LANG": "C.UTF-8", "PATH": PATH, "NODE": f"stand-in {node}"},
        fields={"POD_IP": "status.podIP", "POD_NAME": "metadata.name"},
        mounts=(HostMount(source=model, target=Path("/mnt/models")),),
        services=(f"{role}s", f"{role}s.default.svc"),
        grace=5.0,
    )
    return spec.model_copy(update=changes)


@dataclass
class Group:
    """A run, and a way in to each of its nodes."""

    run: LocalRun
    urls: dict[str, str]

    def get(self, node: str, path: str = "/seen") -> Any:
        with urlopen(self.urls[node] + path, timeout=5) as answer:
            return json.load(answer)

    def answers(self, node: str) -> bool:
        try:
            with urlopen(self.urls[node] + "/status", timeout=0.5):
                return True
        except OSError:
            return False

    def ask(self, command: Any, node: str, **more: Any) -> str:
        return self.run.client.ask(Request(command=command, node=node, **more), PATIENCE).done

    def status(self, node: str) -> NodeStatus:
        return next(found for found in self.run.client.status().nodes if found.node == node)


def open_group(base: Path, specs: list[PodSpec]) -> Group:
    sockets = {spec.node: listen(0) for spec in specs}
    urls = {node: url(listener) for node, listener in sockets.items()}
    held = Runs(base).create(None, "test")
    try:
        run = LocalRun.start(held, specs, [Entrance(found, node, 8081) for node, found in sockets.items()])
    except MultinodeError as error:
        if error.code == ExitCode.NAMESPACES:
            pytest.skip(str(error))
        raise
    group = Group(run, urls)
    for spec in specs:
        eventually(partial(group.answers, spec.node))
    return group
