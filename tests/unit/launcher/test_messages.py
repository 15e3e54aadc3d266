import json

import pytest
from pydantic import ValidationError

from unit.launcher.pods import identity, plan
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.launcher.messages import (
    Beat,
    EngineExited,
    EngineStopped,
    Hello,
    Leaving,
    Loading,
    Probe,
    ProcessUsage,
    Refused,
    Report,
    Start,
    Stop,
    Welcome,
    WireMeasure,
    WireOpen,
    WireReady,
    WireResult,
    from_head,
    from_worker,
)
from vllm_multinode.launcher.settings import GroupName, Sizes

FROM_WORKER = [
    Hello(identity=identity("w"), group=GroupName(service="llm")),
    Beat(epoch=1, state="serving"),
    EngineExited(epoch=1, reason="vllm exited with status 1"),
    EngineStopped(epoch=1),
    Leaving(reason="asked to stop"),
    Report(
        sent=1.5,
        loading=Loading(done=3, total=8),
        processes=(ProcessUsage(name="VLLM::Worker", user_s=1, system_s=0.5, queued_s=0.25),),
    ),
    WireReady(key="k", port=40000),
    WireResult(key="k", round_trip_ms=0.1, gbit_s=25),
]
FROM_HEAD = [
    Welcome(
        head="h",
        epoch=2,
        rank=1,
        sizes=Sizes(tensor_parallel=1, pipeline_parallel=2, nodes=2),
        heartbeat_timeout=5,
    ),
    Refused(code=ExitCode.TOKEN, what="no token", hint="Mount it.", final=True),
    Beat(epoch=2, state="recovering", reason="lost w"),
    Start(epoch=2, plan=plan(arguments=("--seed", "1"))),
    Stop(epoch=2, reason="lost w"),
    Probe(sent=1.5),
    WireOpen(key="k"),
    WireMeasure(key="k", address="10.0.0.2", port=40000),
]


def name(message: Frozen) -> str:
    return type(message).__name__


@pytest.mark.parametrize("message", FROM_WORKER, ids=name)
def test_a_workers_message_arrives_as_it_was(message: Frozen) -> None:
    assert from_worker.validate_json(message.model_dump_json()) == message


@pytest.mark.parametrize("message", FROM_HEAD, ids=name)
def test_a_heads_message_arrives_as_it_was(message: Frozen) -> None:
    assert from_head.validate_json(message.model_dump_json()) == message


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("GET / HTTP/1.1", id="no-json"),
        pytest.param("[]", id="no-object"),
        pytest.param('{"epoch": 1}', id="no-type"),
        pytest.param('{"type": "start", "epoch": 1}', id="a-heads-type"),
        pytest.param('{"type": "stopped", "epoch": "x"}', id="no-number"),
        pytest.param('{"type": "stopped", "epoch": 1, "more": 1}', id="unknown-key"),
    ],
)
def test_what_no_worker_says_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        from_worker.validate_json(text)


def test_a_worker_takes_no_message_of_another_worker() -> None:
    with pytest.raises(ValidationError):
        from_head.validate_json(json.dumps({"type": "leaving", "reason": ""}))
