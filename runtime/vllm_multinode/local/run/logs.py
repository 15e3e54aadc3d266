"""Reads the nodes' logs, and follows them."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.world.protocol import RunStatus

_POLL: Final = 0.2
_CHUNK: Final = 1 << 16


def log_of(directory: Path, status: RunStatus, name: str) -> Path:
    """The log of a node's pod, or of a pod, living or gone.

    Raises:
        MultinodeError: there is none of that name.
    """
    pod = next((node.pod for node in status.nodes if name in (node.node, node.pod)), name)
    path = directory / f"{pod}.log"
    if path.parent != directory or not path.is_file():
        there = ", ".join(
            [*(node.node for node in status.nodes), *sorted(p.stem for p in directory.glob("*.log"))]
        )
        raise MultinodeError(ExitCode.LOCAL_RUN, f"'{name}' has no log.", hint=f"There are: {there}.")
    return path


def last_lines(path: Path, count: int | None) -> str:
    """The last `count` lines, or all."""
    text = path.read_text(errors="replace")
    if count is None:
        return text
    return "".join(text.splitlines(keepends=True)[-count:]) if count else ""


def follow(path: Path, alive: Callable[[], bool]) -> Iterator[str]:
    """What is written from now on, until the log is gone or its run is not `alive`."""
    with path.open("rb") as file:
        file.seek(0, 2)
        while True:
            if chunk := file.read(_CHUNK):
                yield chunk.decode(errors="replace")
            elif path.exists() and alive():
                time.sleep(_POLL)
            else:
                return
