"""Busy is not hung, on the real engine: long work without an answer, and clients that misbehave."""

import json
import socket
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

from engine.conftest import Start, Step
from engine.services import LocalGroup, eventually, service
from vllm_multinode.launcher.engine_api import parse_metrics
from vllm_multinode.local.run import isvc

pytestmark = [pytest.mark.engine, pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM here")]

PATIENCE: Final = 300.0
PROMPT: Final = 24_000
"""Tokens; several times the hang timeout on any CPU."""
HANG: Final = "4"
ARGUMENTS: Final = (
    *("--dtype", "float32", "--max-model-len", "32000", "--num-gpu-blocks-override", "300"),
    *("--served-model-name", "another-name", "llm-too"),
)


@pytest.fixture(scope="module")
def group(start_for_module: Start, made_model: Path) -> LocalGroup:
    environment = {"MULTINODE_HANG_TIMEOUT": HANG, "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}
    local = service(made_model, args=ARGUMENTS, env=environment)
    found = start_for_module(isvc.pods(local, isvc.cache_directory()))
    found.wait_until_serving(1, PATIENCE)
    return found


def complete(group: LocalGroup, **body: Any) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{group.apis['head']}/v1/completions",
        data=json.dumps({"model": "another-name", "temperature": 0, **body}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        found: dict[str, Any] = json.load(response)
    return found


def tokens_counted(group: LocalGroup) -> tuple[float, ...]:
    with urllib.request.urlopen(f"{group.apis['head']}/metrics", timeout=PATIENCE) as response:
        return parse_metrics(response.read().decode(), 0).step


def never_recovered(group: LocalGroup) -> None:
    status = group.status()
    assert (status["state"], status["epoch"], status["recoveries"]) == ("serving", 1, 0), status


def test_a_lone_long_prefill_is_not_shot(group: LocalGroup, step: Step, threads: ThreadPoolExecutor) -> None:
    with step(f"prefill of {PROMPT} tokens, hang timeout {HANG} s"):
        answer = threads.submit(complete, group, prompt=[5] * PROMPT, max_tokens=1)
        moved = {tokens_counted(group)}
        while not answer.done():
            moved.add(tokens_counted(group))
        assert answer.result()["usage"]["prompt_tokens"] == PROMPT
    assert len(moved) > 3
    never_recovered(group)


def test_clients_that_leave_or_read_nothing_make_no_hang(group: LocalGroup, step: Step) -> None:
    held = []
    with step("twenty clients that leave in mid-stream, five that read nothing"):
        for number in range(25):
            client = streaming(group)
            if number % 5:
                client.recv(64)
                client.close()
            else:
                held.append(client)
        eventually(lambda: complete(group, prompt="One", max_tokens=2)["choices"], PATIENCE, group.shown)
        # What is left to be counted is judged now: idle, with a load that may have drifted.
        with pytest.raises(AssertionError):
            eventually(lambda: group.status()["recoveries"], 4 * float(HANG), group.shown)
    never_recovered(group)
    for client in held:
        client.close()


def streaming(group: LocalGroup) -> socket.socket:
    """A client in the middle of an answer."""
    host, _, port = group.apis["head"].removeprefix("http://").partition(":")
    body = json.dumps({"model": "llm-too", "prompt": "One", "max_tokens": 400, "stream": True})
    client = socket.create_connection((host, int(port)), timeout=PATIENCE)
    client.sendall(
        f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    return client
