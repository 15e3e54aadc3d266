"""The router of the rendered manifests, with their arguments, as processes of this machine."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from engine.services import eventually
from free_ports import free_port
from vllm_multinode.authoring.render import router

PROGRAM = Path(sys.executable).parent / router.VLLM_ROUTER
_HOST = "127.0.0.1"
_PATIENCE = 60.0
_END_TIMEOUT = 10.0


@contextmanager
def routers(heads: Sequence[str], folder: Path, count: int = router.PODS) -> Iterator[list[str]]:
    """Routers before these heads; their URLs once each has found one that serves.

    Args:
        heads: URLs.
        folder: for their logs.
        count: how many.
    """
    with ExitStack() as ends:
        urls = [
            ends.enter_context(_router(heads, folder / f"router-{number}.log")) for number in range(count)
        ]
        for url in urls:
            eventually(partial(_ready, url), _PATIENCE, lambda: _logs(folder))
        yield urls


@contextmanager
def _router(heads: Sequence[str], log: Path) -> Iterator[str]:
    port = free_port()
    arguments = router.arguments(router.to_heads(heads), host=_HOST, port=port, metrics=free_port())
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [PROGRAM, *arguments], stdout=said, stderr=subprocess.STDOUT, env={**os.environ, "NO_COLOR": "1"}
        ) as process,
    ):
        try:
            yield f"http://{_HOST}:{port}"
        finally:
            process.terminate()
            try:
                process.wait(_END_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()


def _ready(url: str) -> bool:
    return status(f"{url}/readiness") == 200


def healthy(url: str) -> set[str]:
    """The heads to which the router of this URL sends requests."""
    with urllib.request.urlopen(f"{url}/workers", timeout=5) as answer:
        workers = json.load(answer)["workers"]
    return {str(worker["url"]) for worker in workers if worker["is_healthy"]}


def status(url: str) -> int:
    """The status code of a GET; 0 where nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def _logs(folder: Path) -> str:
    return "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("router-*.log")))
