"""Busy is not hung, and hung is not busy, on the real engine: long work, misbehaving clients, miscounts."""

import http.client
import json
import socket
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

from engine.conftest import Start, Step
from engine.services import LocalGroup, eventually, service
from vllm_multinode.cluster.supervisor import metrics_path
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.launcher.engine_api import parse_metrics
from vllm_multinode.local.run import isvc
from vllm_multinode.local.world.pod_spec import HostMount
from vllm_multinode.operate.numbers import CACHE_USED, OF_RATES, Numbers

pytestmark = [pytest.mark.engine, pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM here")]

PATIENCE: Final = 300.0
PROMPT: Final = 24_000
"""Tokens; several times the hang timeout on any CPU."""
HANG: Final = "4"
ACTS: Final = Path(__file__).parent / "programs"
ARGUMENTS: Final = (
    *("--dtype", "float32", "--max-model-len", "32000", "--num-gpu-blocks-override", "300"),
    *("--served-model-name", "another-name", "llm-too"),
    *("--worker-extension-cls", "engine_acts.Hangs", "--middleware", "engine_acts.Drifts"),
)
POOLING: Final = ("--runner", "pooling", "--convert", "embed")
ENVIRONMENT: Final = {
    "MULTINODE_HANG_TIMEOUT": HANG,
    "MULTINODE_BACKOFF": "0",
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
    # `/collective_rpc`, by which a test makes workers hang.
    "VLLM_SERVER_DEV_MODE": "1",
    "PYTHONPATH": "/opt/acts",
}


def started(start: Start, model: Path, *more: str, executor: ExecutorName = "mp") -> LocalGroup:
    local = service(model, executor=executor, args=(*ARGUMENTS, *more), env=ENVIRONMENT)
    mount = HostMount(source=ACTS, target=Path("/opt/acts"))
    group = start(
        [
            pod.model_copy(update={"mounts": (*pod.mounts, mount)})
            for pod in isvc.pods(local, isvc.cache_directory())
        ]
    )
    group.wait_until_serving(1, PATIENCE)
    return group


@pytest.fixture(scope="module")
def group(start_for_module: Start, made_model: Path) -> LocalGroup:
    return started(start_for_module, made_model)


def complete(group: LocalGroup, **body: Any) -> dict[str, Any]:
    return post(group, "/v1/completions", {"model": "another-name", "temperature": 0, **body})


def post(group: LocalGroup, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{group.apis['head']}{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            found: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        # It holds the connection.
        error.close()
        raise
    return found


def tokens_counted(group: LocalGroup) -> tuple[float, ...]:
    with urllib.request.urlopen(f"{group.apis['head']}/metrics", timeout=PATIENCE) as response:
        return parse_metrics(response.read().decode(), 0).step


def never_recovered(group: LocalGroup) -> None:
    status = group.status()
    assert (status["state"], status["epoch"], status["recoveries"]) == ("serving", 1, 0), status


def stays_idle(group: LocalGroup, times: int = 4) -> None:
    """For several times the hang timeout; what is left to be counted is judged then."""
    with pytest.raises(AssertionError, match="not within"):
        eventually(lambda: group.status()["recoveries"], times * float(HANG), group.shown)
    never_recovered(group)


def drift(group: LocalGroup, by: int) -> float:
    """Let `/load` count so many more from now on; what it counts then."""
    group.api(f"/drift?{by}")
    return float(group.api("/load")["server_load"])


def hang(group: LocalGroup, threads: ThreadPoolExecutor, path: str, body: dict[str, Any]) -> str:
    """Let every rank hang, ask for something, and tell why the engine was started again."""
    hanging = threads.submit(post, group, "/collective_rpc", {"method": "hang"})
    asked = threads.submit(post, group, path, body)
    reason = str(group.wait_until_serving(2, PATIENCE)["last_incident"])
    for one in (hanging, asked):
        with pytest.raises((OSError, http.client.HTTPException)):
            one.result(PATIENCE)
    return reason


def test_counters_are_selected_by_name(group: LocalGroup) -> None:
    """To write all of them blocks vLLM's API server for milliseconds; `status` and `top` want a few."""
    with urllib.request.urlopen(
        f"{group.apis['head']}/{metrics_path(OF_RATES)}", timeout=PATIENCE
    ) as response:
        names = {one.name for one in Numbers.read(response.read().decode()).samples}
    # Of two names for the same number one is there.
    assert names == set(OF_RATES) - set(CACHE_USED[1:])


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
        stays_idle(group)
    for client in held:
        client.close()


def test_a_load_that_has_drifted_makes_no_hang(
    group: LocalGroup, step: Step, threads: ThreadPoolExecutor
) -> None:
    with step("/load counts three too many, then five below zero, idle and busy"):
        before = drift(group, 0)
        assert drift(group, 3) == before + 3
        stays_idle(group, times=2)
        assert drift(group, -8) == before - 5 < 0
        answer = threads.submit(complete, group, prompt=[7] * PROMPT, max_tokens=1)
        assert answer.result(PATIENCE)["usage"]["prompt_tokens"] == PROMPT
    never_recovered(group)


def test_a_load_that_has_drifted_hides_no_hang(
    group: LocalGroup, step: Step, threads: ThreadPoolExecutor
) -> None:
    # One request that waits brings the count to nought, as if nobody asked.
    drift(group, -1 - int(drift(group, 0)))
    with step("every rank hangs: serving again"):
        reason = hang(
            group, threads, "/v1/completions", {"model": "another-name", "prompt": "One", "max_tokens": 9}
        )
    assert "hung: " in reason
    assert complete(group, prompt="One", max_tokens=2)["choices"]


@pytest.mark.parametrize(
    ("executor", "more"),
    [pytest.param("ray", (), id="ray"), pytest.param("mp", POOLING, id="pooling")],
)
def test_long_work_and_a_hang_are_told_apart(
    start: Start,
    made_model: Path,
    threads: ThreadPoolExecutor,
    request: pytest.FixtureRequest,
    executor: ExecutorName,
    more: tuple[str, ...],
) -> None:
    if not request.config.getoption("--all-versions"):
        pytest.skip("only with --all-versions")
    group = started(start, made_model, *more, executor=executor)
    path = "/v1/embeddings" if more else "/v1/completions"
    body = {"model": "llm-too"} | (
        {"input": [5] * PROMPT} if more else {"prompt": [5] * PROMPT, "max_tokens": 1}
    )
    assert post(group, path, body)["usage"]["prompt_tokens"] == PROMPT
    stays_idle(group)
    assert "hung: " in hang(group, threads, path, body)
    assert post(group, path, body)["usage"]["prompt_tokens"] == PROMPT


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
