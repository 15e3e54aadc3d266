"""Load from vLLM's own `vllm bench serve`, in a process of its own."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.request import urlopen

from vllm_multinode.launcher.commands.cpu import write_vllm_metadata

CONCURRENCY = 16
# More than any run here gets through.
_PROMPTS = 5000
_FIRST = 120.0


@contextlib.contextmanager
def saturating(api: str, model: Path, *options: str) -> Iterator[None]:
    """Twice as many requests at a time as the engine takes, for as long as the block runs.

    Args:
        api: URL of vLLM.
        model: directory whose tokenizer makes the prompts.
        options: more of `vllm bench serve`.
    """
    with tempfile.TemporaryDirectory() as folder:
        process = _bench(api, model, Path(folder), options)
        try:
            _wait_for_load(api)
            yield
            if process.poll() is not None:
                raise ChildProcessError((Path(folder) / "log").read_text()[-2000:])
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def _bench(api: str, model: Path, folder: Path, options: Sequence[str]) -> "subprocess.Popen[bytes]":
    write_vllm_metadata(folder)
    vllm = shutil.which("vllm", path=str(Path(sys.executable).parent)) or "vllm"
    argv = [vllm, "bench", "serve", "--backend", "openai", "--base-url", api, "--endpoint", "/v1/completions"]
    argv += ["--model", "llm", "--tokenizer", str(model), "--dataset-name", "random"]
    argv += ["--random-input-len", "64", "--random-output-len", "64", "--num-prompts", str(_PROMPTS)]
    argv += ["--max-concurrency", str(CONCURRENCY), "--disable-tqdm", *options]
    environment = os.environ | {"PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(argv, env=environment, stdout=log, stderr=log, start_new_session=True)


def _wait_for_load(api: str) -> None:
    deadline = time.monotonic() + _FIRST
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urlopen(f"{api}/load", timeout=10) as response:
            if json.load(response)["server_load"] >= CONCURRENCY / 2:
                return
        time.sleep(0.2)
    raise TimeoutError(f"the load did not begin within {_FIRST:.0f} s")
