from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.connections import Connections
from vllm_multinode.launcher.http import application, listen
from vllm_multinode.launcher.states import State, Status


class Pod:
    """A supervisor as far as the probes know it."""

    def __init__(self) -> None:
        self.status = Status()
        self.complete = True

    @property
    def ready(self) -> bool:
        return self.status.state is State.SERVING and self.complete

    def describe(self) -> dict[str, Any]:
        return {"state": self.status.state, "members": [{"name": "head"}]}

    def labelled(self) -> Mapping[str, tuple[str, Mapping[str, float]]]:
        return {"recoveries_by_cause_total": ("cause", {"member": 2.0, "hung": 0.0})}

    def numbers(self) -> Mapping[str, float]:
        return {"ready": float(self.ready), "recoveries_total": 3.0}


Client = TestClient[Any, Any]


@pytest.fixture
def pod() -> Pod:
    return Pod()


@pytest.fixture
async def client(pod: Pod) -> AsyncIterator[Client]:
    async with TestClient(TestServer(application(pod))) as found:
        yield found


async def probes(client: Client) -> tuple[int, int, int]:
    live, startup, ready = [await client.get(path) for path in ("/live", "/startup", "/ready")]
    return live.status, startup.status, ready.status


async def test_probes_follow_the_state(client: Client, pod: Pod) -> None:
    assert await probes(client) == (200, 503, 503)
    pod.status.set(State.STARTING, "epoch 1")
    assert await probes(client) == (200, 503, 503)
    pod.status.set(State.SERVING)
    assert await probes(client) == (200, 200, 200)
    pod.complete = False
    assert await probes(client) == (200, 200, 503)
    pod.status.set(State.RECOVERING, "lost w")
    # Startup is over for good: a recovery must not look like a new start.
    assert await probes(client) == (200, 200, 503)


async def test_a_probe_says_why(client: Client, pod: Pod) -> None:
    pod.status.set(State.FORMING, "1 of 2")
    assert await (await client.get("/ready")).text() == "forming (1 of 2)\n"


async def test_status_is_json(client: Client) -> None:
    answer = await client.get("/status")
    assert await answer.json() == {"state": "preflight", "members": [{"name": "head"}]}


async def test_metrics_are_prometheus(client: Client, pod: Pod) -> None:
    pod.status.set(State.SERVING)
    answer = await client.get("/metrics")
    assert answer.content_type == "text/plain"
    families = {one.name: one for one in text_string_to_metric_families(await answer.text())}
    assert (families["multinode_ready"].type, families["multinode_ready"].samples[0].value) == ("gauge", 1)
    assert families["multinode_recoveries"].type == "counter"
    states = {one.labels["state"]: one.value for one in families["multinode_state"].samples}
    assert set(states) == set(State)
    assert [state for state, value in states.items() if value] == ["serving"]


async def test_a_taken_port_is_refused_by_its_variable(pod: Pod, unused_tcp_port: int) -> None:
    close = await listen(application(pod), "127.0.0.1", unused_tcp_port, Connections())
    with pytest.raises(MultinodeError, match=f"port {unused_tcp_port} is taken") as refused:
        await listen(application(pod), "127.0.0.1", unused_tcp_port, Connections())
    assert (refused.value.code, refused.value.where) == (ExitCode.PORT_TAKEN, "MULTINODE_SUPERVISOR_PORT")
    await close()
    await (await listen(application(pod), "127.0.0.1", unused_tcp_port, Connections()))()


async def test_an_address_of_another_pod_is_refused(pod: Pod, unused_tcp_port: int) -> None:
    with pytest.raises(MultinodeError, match=r"192\.0\.2\.7 is not an address of this pod") as refused:
        await listen(application(pod), "192.0.2.7", unused_tcp_port, Connections())
    assert (refused.value.code, refused.value.where) == (ExitCode.VARIABLE, "POD_IP")


async def test_causes_and_the_time_in_the_present_state(client: Client, pod: Pod) -> None:
    pod.status.set(State.RECOVERING, "lost w")
    text = await (await client.get("/metrics")).text()
    assert 'multinode_recoveries_by_cause_total{cause="member"} 2.0' in text
    assert 'multinode_recoveries_by_cause_total{cause="hung"} 0.0' in text
    assert 'multinode_state_seconds{state="recovering"}' in text


async def test_a_page_for_people(client: Client) -> None:
    answer = await client.get("/")
    assert answer.content_type == "text/html"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "<h1>preflight</h1>" in await answer.text()
