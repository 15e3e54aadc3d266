"""Conversations of a rogue with a head that has an honest member: whatever is said, that one stays."""

import asyncio
import json
import logging
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unit.launcher.members import NAME, Pod
from unit.launcher.pods import identity
from unit.launcher.test_rendezvous import World, opened
from vllm_multinode.launcher.messages import (
    Beat,
    EngineExited,
    EngineStopped,
    GivesUp,
    Hello,
    Leaving,
    Loading,
    Report,
    Welcome,
    WireReady,
    WireResult,
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=50),
    st.sampled_from(["a", "b", "head", "\x1b[2J", "x" * 5000, "\ud800", "999", "NaN"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
VALID = st.sampled_from(
    [
        Hello(identity=identity("a"), group=NAME),
        Hello(identity=identity("b", gpus=4), group=NAME),
        Hello(identity=identity("head"), group=NAME),
        Hello(identity=identity("honest"), group=NAME),
        Beat(epoch=1, state="serving"),
        Beat(epoch=2**53, state="x"),
        EngineExited(epoch=1, reason="because"),
        EngineStopped(epoch=2**53),
        GivesUp(epoch=1, reason="because"),
        Leaving(reason="because"),
        Report(sent=1, loading=Loading(done=1, total=2)),
        WireReady(key="k", port=1),
        WireResult(key="k", gbit_s=1),
    ]
).map(lambda message: message.model_dump(mode="json"))


@st.composite
def messages(draw: st.DrawFn) -> str:
    """A right message, one with something else in a place of it, or anything."""
    said: Any = draw(VALID)
    for _ in range(draw(st.integers(0, 2))):
        place = said
        name = draw(st.sampled_from(sorted(place)))
        if isinstance(place[name], dict) and place[name] and draw(st.booleans()):
            place = place[name]
            name = draw(st.sampled_from(sorted(place)))
        match draw(st.sampled_from(["another value", "left out", "one more"])):
            case "another value":
                place[name] = draw(VALUES)
            case "left out":
                del place[name]
            case _:
                place[draw(st.text(max_size=8))] = draw(VALUES)
        if not isinstance(said, dict) or not said:
            break
    text = json.dumps(said)
    return draw(st.sampled_from([text, text[:-1], text + text, f"[{text}]"]) | st.text(max_size=100))


CONVERSATIONS = st.lists(st.lists(messages(), min_size=1, max_size=6), min_size=5, max_size=15)


async def talk(world: World, pod: str, said: list[str]) -> None:
    with suppress(aiohttp.ClientError, ConnectionError):
        rogue = await world.connect(pod)
        for text in said:
            await rogue.link.send_str(text)
        await rogue.link.close()


async def honest_through(conversations: list[list[str]]) -> None:
    async with opened(nodes=4) as world:
        honest: Pod = await world.join("honest", instance="its own")
        await honest.expect(Welcome)
        world.group.next_epoch()
        await asyncio.gather(
            *(talk(world, "ab"[number % 2], said) for number, said in enumerate(conversations)),
            talk(world, "honest", conversations[0]),
        )
        assert "honest" in world.group.members
        assert world.group.epoch == 1
        assert not world.group.members["honest"].leaving
        assert world.rendezvous.events.qsize() <= world.rendezvous.events.maxsize
        assert world.rendezvous.refusals.last.isprintable()
        await honest.send(Beat(epoch=1, state="starting"))
        async with asyncio.timeout(5):
            while world.group.members["honest"].state != "starting":
                await asyncio.sleep(0.01)
        await honest.link.close()


def test_an_honest_member_stays_whatever_a_rogue_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(CONVERSATIONS)
    def holds(conversations: list[list[str]]) -> None:
        asyncio.run(honest_through(conversations))

    holds()
    # The cause of a refusal is told in a line; a traceback would be an error that nobody expected.
    assert "Traceback" not in caplog.text
    assert all(record.getMessage().isprintable() for record in caplog.records)
