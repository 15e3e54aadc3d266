"""`multinode head` and `multinode worker` as processes, with a stand-in for vLLM beside the interpreter."""

import asyncio
import json
import struct
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from free_ports import free_port
from unit.launcher.alone import Alone, forked
from vllm_multinode.cli.main import main
from vllm_multinode.contract.kserve import Role
from vllm_multinode.launcher import node

STAND_IN = Path(__file__).with_name("stand_in.py")


def write_model(folder: Path) -> Path:
    """A model of one shard with eight heads and four layers."""
    folder.mkdir(exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "num_hidden_layers": 4,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    header = json.dumps({"lm_head.weight": {"dtype": "U8", "shape": [16], "data_offsets": [0, 16]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    return folder


class Launcher:
    """One pod's folder: its model, its environment, its termination log.

    Args:
        folder: for everything that the pod reads and writes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.play_head = False
        self.model = write_model(folder / "model")
        self.api, self.supervisor = free_port(), free_port()
        self.termination_log = folder / "termination-log"
        program = folder / "bin" / "vllm"
        program.parent.mkdir()
        program.write_text(f"#!{sys.executable} -SI\n{STAND_IN.read_text()}")
        program.chmod(0o755)

    def environment(self, role: Role, **changes: str | None) -> dict[str, str]:
        """KServe's (a worker's of v0.18, so that sizes are checked), ours, and some changed or left out."""
        told: dict[str, str | None] = {
            "TENSOR_PARALLEL_SIZE": "1",
            "PIPELINE_PARALLEL_SIZE": "1",
            "RAY_NODE_COUNT": "1",
            "REQUEST_GPU_COUNT": "1",
            "MODEL_DIR": str(self.model),
            "POD_NAME": role,
            "POD_IP": "127.0.0.1",
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "MULTINODE_EXECUTOR": "mp",
            "MULTINODE_ACCELERATOR": "cpu",
            "MULTINODE_SHARED_MEMORY_MIN": "0",
            "MULTINODE_PORT": str(self.api),
            "MULTINODE_SUPERVISOR_PORT": str(self.supervisor),
            "MULTINODE_MASTER_PORT": str(free_port()),
            "MULTINODE_RAY_PORT": str(free_port()),
            "MULTINODE_TERMINATION_LOG": str(self.termination_log),
            "MULTINODE_BACKOFF": "0",
            # The members that tests play answer nothing about the wire.
            "MULTINODE_WIRE_CHECK": "false",
            "MULTINODE_DRAIN_TIMEOUT": "0",
            "STAND_IN": "serve",
        }
        if role == "head":
            told["MODEL_NAME"] = "llm"
        else:
            told |= {"ISVC_NAME": "llm", "HEAD_SVC": "head.invalid"}
        return {name: value for name, value in (told | changes).items() if value is not None}

    @contextmanager
    def run(self, role: Role, *arguments: str, **changes: str | None) -> Iterator[Alone]:
        """The command with that environment, as a process.

        Head and worker share one setting for their port: a worker for which `play_head` is set does not
        listen, and leaves the port to a head that the test plays.
        """

        def work() -> int:
            # The engine's programs are looked for beside the interpreter first.
            sys.executable = str(self.folder / "bin" / "python")
            sys.argv = ["multinode", role, *arguments]
            if self.play_head:
                vars(node)["listen"] = _listen_to_nobody
            main()

        with forked(work, self.folder, self.environment(role, **changes)) as found:
            yield found

    def get(self, path: str) -> tuple[int, str]:
        """What the supervisor answers; status 0 where nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.supervisor}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def status(self) -> dict[str, Any]:
        """`/status`, or nothing where nobody listens."""
        code, text = self.get("/status")
        return json.loads(text) if code == 200 else {}


async def _listen_to_nobody(*_: object) -> Callable[[], Coroutine[Any, Any, None]]:
    async def close() -> None:
        pass

    return close


async def until(condition: Callable[[], bool], alone: Alone, timeout: float = 60) -> None:
    """Wait for something, and show what the process said where it never comes."""
    deadline = asyncio.get_running_loop().time() + timeout
    while not await asyncio.to_thread(condition):
        assert asyncio.get_running_loop().time() < deadline, alone.output()
        assert alone.poll() is None, alone.output()
        await asyncio.sleep(0.02)
