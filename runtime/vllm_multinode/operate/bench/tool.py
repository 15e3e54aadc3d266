"""`vllm bench serve` as a process: where it is, and one run of it after the other."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.commands.cpu import write_vllm_metadata
from vllm_multinode.launcher.programs import interpreter_of

_START: Final = 300.0
"""Seconds for importing vLLM: from a cold disk it takes minutes."""
_END: Final = 10.0
_SAID: Final = 300
_DRIVER: Final = Path(__file__).with_name("driver.py")


class OutOfTimeError(Exception):
    """The time for a run is over; nothing of it is kept."""


def find_vllm(given: str) -> Path:
    """The Python of the environment that has vLLM.

    Args:
        given: the `vllm` program; empty for the one beside this interpreter, or else the first on PATH.

    Raises:
        MultinodeError: ENGINE_MISSING: there is none, and how to get it.
    """
    beside = Path(sys.executable).parent
    found = given or shutil.which("vllm", path=str(beside)) or shutil.which("vllm")
    python = interpreter_of(Path(found)) if found and os.access(found, os.X_OK) else None
    if python is None:
        raise MultinodeError(
            ExitCode.ENGINE_MISSING,
            f"'{given}' is no vllm program of a Python environment."
            if given
            else "`vllm bench serve` creates the load, and vllm is not installed here.",
            where="--vllm" if given else "",
            hint="`multinode local install` or `pip install vllm` installs it; or run this in a vLLM image.",
        )
    return Path(python)


class Tool:
    """vLLM's benchmark, loaded once; `with` ends it.

    Args:
        python: that has vLLM.
        folder: for its log.
        key: that the API asks its clients for; it stands in no argument.
    """

    def __init__(self, python: Path, folder: Path, key: str = "") -> None:
        self._log_path = folder / "bench.log"
        environment = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false"}
        if key:
            environment["OPENAI_API_KEY"] = key
        self._metadata = tempfile.TemporaryDirectory(prefix="multinode-bench-")
        if Path(sys.executable).parent == python.parent:
            # vLLM's CPU build lacks the metadata that its own command asks for.
            write_vllm_metadata(Path(self._metadata.name))
            path = [self._metadata.name, environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        self._process, self._answers = self._start(python, environment)

    def _start(self, python: Path, environment: Mapping[str, str]) -> tuple["subprocess.Popen[bytes]", int]:
        ours, theirs = os.pipe()
        with self._log_path.open("ab") as log:
            process = subprocess.Popen(
                [str(python), str(_DRIVER), str(theirs)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=(theirs,),
                # Ctrl-C is for this command, which keeps what was measured.
                start_new_session=True,
            )
        os.close(theirs)
        return process, ours

    def wait_until_loaded(self, seconds: float = _START) -> None:
        """Until vLLM is imported.

        Raises:
            MultinodeError: ENGINE_MISSING: it cannot be, with its own words.
        """
        try:
            self._answer(time.monotonic() + seconds)
        except OutOfTimeError:
            raise MultinodeError(
                ExitCode.ENGINE_MISSING, f"vLLM was not imported within {seconds:.0f} s.", where=self._where
            ) from None

    def run(self, argv: Sequence[str], deadline: float) -> str:
        """One run of `vllm bench serve`; returns why it came to nothing, empty where it did not.

        Args:
            argv: its arguments.
            deadline: by the monotonic clock.

        Raises:
            OutOfTimeError: it is not done by then; the tool is of no use any more.
            MultinodeError: ENGINE_MISSING: it has ended, with its last words.
        """
        assert self._process.stdin is not None  # noqa: S101 - Popen was given a pipe
        try:
            self._process.stdin.write(json.dumps({"argv": list(argv)}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error
        return str(self._answer(deadline).get("error") or "")

    def _answer(self, deadline: float) -> dict[str, object]:
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0:
                raise OutOfTimeError
            if not select.select([self._answers], [], [], left)[0]:
                continue
            part = os.read(self._answers, 1 << 16)
            if not part:
                raise self._ended()
            line += part
        found: dict[str, object] = json.loads(line)
        return found

    @property
    def _where(self) -> str:
        return str(self._log_path)

    def _ended(self) -> MultinodeError:
        # Its last words are written after its last answer.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END)
        text = self._log_path.read_text(errors="replace").strip()
        last = text.rpartition("\n")[2][:_SAID]
        return MultinodeError(
            ExitCode.ENGINE_MISSING,
            f"`vllm bench serve` failed: {last or 'no output'}.",
            where=self._where,
            hint="See its log.",
        )

    def close(self) -> None:
        """End it, and all that it has started."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(_END)
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        os.close(self._answers)
        self._metadata.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
