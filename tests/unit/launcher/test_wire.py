"""The wire between nodes: measured over loopback, and never an exception for what a peer does."""

import asyncio
import socket

import pytest

from vllm_multinode.launcher import wire, wire_check
from vllm_multinode.launcher.messages import WireMeasure, WireOpen, WireReady, WireResult
from vllm_multinode.launcher.wire import Listener, measure, new_key


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_wire_is_measured_in_both_numbers(address: str) -> None:
    key = new_key()
    listener = Listener(address, key)
    serving = asyncio.create_task(listener.serve())
    found = await measure(address, listener.port, key)
    await serving
    assert found.reason == ""
    assert found.round_trip_ms is not None
    assert 0 < found.round_trip_ms < 1000
    assert found.gbit_s is not None
    assert found.gbit_s > 0.01


async def test_who_does_not_know_the_key_measures_nothing_and_keeps_nobody_from_it() -> None:
    key = new_key()
    listener = Listener("127.0.0.1", key)
    serving = asyncio.create_task(listener.serve())
    refused = await measure("127.0.0.1", listener.port, new_key())
    assert (refused.gbit_s, refused.round_trip_ms) == (None, None)
    assert refused.reason
    assert (await measure("127.0.0.1", listener.port, key)).reason == ""
    await serving


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert (await measure("127.0.0.1", port, new_key())).reason == "Connection refused"


async def test_a_listener_that_is_closed_ends() -> None:
    listener = Listener("127.0.0.1", new_key())
    serving = asyncio.create_task(listener.serve())
    listener.close()
    async with asyncio.timeout(60):
        await serving


async def test_a_peer_that_reads_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = await measure("127.0.0.1", silent.getsockname()[1], new_key())
    assert found.gbit_s is None
    assert found.reason == "timed out"


class Members:
    """Workers that answer a head's check, or are silent."""

    def __init__(self, *pods: str, silent: tuple[str, ...] = ()) -> None:
        self.pods = pods
        self.silent = silent
        self.asked: list[tuple[str, object]] = []
        self.check: wire_check.WireCheck
        self.complete = True

    @property
    def head(self) -> object:
        return Identity("head")

    @property
    def staying(self) -> list[object]:
        return [Held(Identity(pod)) for pod in self.pods]

    async def broadcast(self, message: object) -> None:
        for pod in self.pods:
            await self.send(pod, message)

    async def send(self, pod: str, message: object) -> None:
        self.asked.append((pod, message))
        if pod in self.silent:
            return
        if isinstance(message, WireOpen):
            listener = Listener("127.0.0.1", message.key)
            self.tasks = [*getattr(self, "tasks", []), asyncio.create_task(listener.serve())]
            self.check.said(pod, WireReady(key=message.key, port=listener.port))
        elif isinstance(message, WireMeasure):
            found = await measure(message.address, message.port, message.key)
            self.check.said(pod, found.model_copy(update={"key": message.key}))


class Identity:
    def __init__(self, pod: str) -> None:
        self.pod = pod
        self.address = "127.0.0.1"


class Held:
    def __init__(self, identity: Identity) -> None:
        self.identity = identity


def checking(members: Members) -> wire_check.WireCheck:
    members.check = wire_check.WireCheck(members, members.broadcast, members.send)  # type: ignore[arg-type]
    return members.check


async def test_every_way_of_the_ring_is_measured_once_for_the_same_members() -> None:
    members = Members("a", "b")
    check = checking(members)
    await check.check()
    ways = check.described()
    assert [(one["from"], one["to"]) for one in ways] == [("head", "a"), ("a", "b"), ("b", "head")]
    assert all(one["gbit_s"] > 0 and one["reason"] == "" for one in ways)
    asked = len(members.asked)
    await check.check()
    assert len(members.asked) == asked
    members.pods = ("a", "c")
    await check.check()
    assert [one["to"] for one in check.described()] == ["a", "c", "head"]


async def test_a_member_that_does_not_answer_is_named_and_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire_check, "_READY", 0.3)
    monkeypatch.setattr(wire_check, "LIMIT", 0.9)
    monkeypatch.setattr(wire, "LIMIT", 0.9)
    check = checking(Members("a", "b", silent=("b",)))
    await check.check()
    reasons = {one["from"]: one["reason"] for one in check.described()}
    assert reasons["head"] == ""
    assert reasons["a"] == reasons["b"] == "no answer in time"


async def test_a_member_that_is_lost_meanwhile_is_not_waited_for() -> None:
    members = Members("a", silent=("a",))
    check = checking(members)
    going = asyncio.create_task(check.check())
    await asyncio.sleep(0.05)
    members.complete = False
    check.look_again()
    async with asyncio.timeout(60):
        await going
    assert [one["reason"] for one in check.described()] == ["no answer in time"] * 2
    # It is measured again when it has come back.
    members.complete, members.silent = True, ()
    await check.check()
    assert [one["reason"] for one in check.described()] == ["", ""]


async def test_an_answer_to_another_check_is_passed_over() -> None:
    check = checking(Members("a"))
    check.said("a", WireResult(key="another", gbit_s=1e6, round_trip_ms=0))
    check.said("a", WireReady(key="another", port=1))
    assert check.described() == []


async def test_a_head_alone_measures_nothing() -> None:
    members = Members()
    check = checking(members)
    await check.check()
    assert (members.asked, check.described()) == ([], [])
