"""A real head and a real worker over loopback, with a stand-in for vLLM: what is attacked."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from free_ports import free_port
from unit.launcher.launching import STAND_IN, write_model
from vllm_multinode.checkpoint.model_directory import read_model
from vllm_multinode.contract import env
from vllm_multinode.launcher.identity import installed_versions
from vllm_multinode.launcher.messages import Hello, Identity
from vllm_multinode.launcher.settings import GroupName

HEAD, WORKER = "127.0.0.1", "127.0.0.2"
NAME = GroupName(service="llm", generation="3")
_PATIENCE = 40.0


@dataclass
class Target:
    """One group.

    Attributes:
        port: of both supervisors.
        token: of the group, or None.
        folder: with the model, logs and termination logs.
        nodes: places, the head's included.
        processes: by role.
    """

    port: int
    token: str | None
    folder: Path
    nodes: int
    processes: dict[str, "subprocess.Popen[bytes]"]

    @property
    def base(self) -> str:
        """URL of the head's supervisor."""
        return f"http://{HEAD}:{self.port}"

    def status(self) -> dict[str, Any]:
        """The head's `/status`; nothing where it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.base}/status", timeout=10) as answer:
                return dict(json.loads(answer.read()))
        except (OSError, ValueError):
            return {}

    def wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask for the status until it is as wanted."""
        deadline = time.monotonic() + _PATIENCE
        while not wanted(status := self.status()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the head is still {status}\n{self.logs()}")
            time.sleep(0.05)
        return status

    def resident_mib(self, role: str = "head") -> float:
        """Memory of a supervisor; 0 where it is gone."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.processes[role].pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
        return 0.0

    def hello(self, pod: str, **changes: Any) -> Hello:
        """As an honest worker of this group would say it, but for the changes to its identity."""
        told: dict[str, Any] = {
            "pod": pod,
            "address": "127.0.0.3",
            "accelerator": "cpu",
            "gpus": 1,
            "versions": installed_versions(),
            "model_dir": str(self.folder / "model"),
            "fingerprint": read_model(self.folder / "model").fingerprint,
        }
        return Hello(identity=Identity(**(told | changes)), group=NAME)

    def logs(self) -> str:
        """The last lines of every log."""
        return "\n".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("*.log")))


@contextlib.contextmanager
def running(
    folder: Path, *, token: str | None = None, nodes: int = 2, with_worker: bool = True, **changes: str
) -> Iterator[Target]:
    """Start a group, wait until it serves (with its worker) or forms (without), and end it."""
    folder.mkdir()
    target = Target(free_port(), token, folder, nodes, {})
    write_model(folder / "model")
    program = folder / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable} -SI\n{STAND_IN.read_text()}")
    program.chmod(0o755)
    ports = {env.PORT: str(free_port()), env.MASTER_PORT: str(free_port())}
    try:
        for role in ("head", "worker") if with_worker else ("head",):
            environment = _environment(target, role) | ports | changes
            target.processes[role] = _start(role, environment, folder / f"{role}.log")
        state = "serving" if with_worker else "forming"
        target.wait(lambda status: status.get("state") == state)
        yield target
    finally:
        for process in target.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in target.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()


def _start(role: str, environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    multinode = shutil.which("multinode", path=str(Path(sys.executable).parent)) or "multinode"
    with log.open("wb") as output:
        return subprocess.Popen([multinode, role], env=environment, stdout=output, stderr=output)


def _environment(target: Target, role: str) -> dict[str, str]:
    told = {
        "PATH": f"{target.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(target.folder),
        "TMPDIR": str(target.folder),
        env.TENSOR_PARALLEL_SIZE: "1",
        env.PIPELINE_PARALLEL_SIZE: str(target.nodes),
        env.RAY_NODE_COUNT: str(target.nodes),
        env.REQUEST_GPU_COUNT: "1",
        env.MODEL_DIR: str(target.folder / "model"),
        env.POD_NAME: role,
        env.POD_IP: HEAD if role == "head" else WORKER,
        env.EXECUTOR: "mp",
        env.ACCELERATOR: "cpu",
        env.SHARED_MEMORY_MIN: "0",
        env.SUPERVISOR_PORT: str(target.port),
        env.TERMINATION_LOG: str(target.folder / f"{role}.termination"),
        env.DRAIN_TIMEOUT: "0",
        "STAND_IN": "serve",
    }
    if target.token is not None:
        file = target.folder / "token"
        file.write_text(target.token)
        told[env.TOKEN_FILE] = str(file)
    if role == "head":
        return told | {env.MODEL_NAME: "llm"}
    return told | {env.ISVC_NAME: "llm", env.HEAD_SVC: HEAD, env.GENERATION: "3"}
