"""A pod that comes before its model waits, says so, and gives up in the end."""

import asyncio
from pathlib import Path

import pytest

from vllm_multinode.checkpoint.marker import LOCK, MarkedFile, Marker, State, now, write_marker
from vllm_multinode.launcher.fetching import await_model
from vllm_multinode.launcher.states import Status


def mark(directory: Path, state: State) -> None:
    files = {"a.safetensors": MarkedFile(size=1), "b.safetensors": MarkedFile(size=1)}
    write_marker(directory, Marker(state=state, source="hf://org/llm", files=files, at=now()))


async def reasons(directory: Path, timeout: float = 30, then: State | None = "whole") -> list[str]:
    """What the status says while it waits; after the second word the fetch comes to another state."""
    status, stop = Status(), asyncio.Event()
    waiting = asyncio.create_task(await_model(directory, status, stop, timeout, poll=0.01))
    while not waiting.done() and not status.awaits_model:
        await asyncio.sleep(0.01)
    if then is not None:
        mark(directory, then)
    await asyncio.wait_for(waiting, 30)
    return [change.reason for change in status.history if change.reason]


@pytest.mark.parametrize("then", ["whole", "failed"])
async def test_it_waits_while_the_fetch_is_under_way(tmp_path: Path, then: State) -> None:
    mark(tmp_path, "fetching")
    (tmp_path / "a.safetensors").write_text("x")
    assert await reasons(tmp_path, then=then) == [
        "waiting for the model: hf://org/llm, 1 of 2 files are here"
    ]


@pytest.mark.parametrize("content", [pytest.param((), id="empty"), pytest.param((LOCK,), id="locked")])
async def test_it_waits_for_a_fetch_that_has_not_begun(tmp_path: Path, content: tuple[str, ...]) -> None:
    for name in content:
        (tmp_path / name).touch()
    assert await reasons(tmp_path) == ["waiting for the model: its fetch has not started"]


async def test_it_gives_up_in_time(tmp_path: Path) -> None:
    mark(tmp_path, "fetching")
    assert len(await reasons(tmp_path, timeout=0.05, then=None)) == 1


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
async def test_what_came_by_another_way_is_not_waited_for(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert await reasons(tmp_path, then=None) == []


async def test_no_timeout_does_not_wait(tmp_path: Path) -> None:
    mark(tmp_path, "fetching")
    assert await reasons(tmp_path, timeout=0, then=None) == []


async def test_it_ends_when_the_pod_is_asked_to(tmp_path: Path) -> None:
    mark(tmp_path, "fetching")
    stop = asyncio.Event()
    stop.set()
    await asyncio.wait_for(await_model(tmp_path, Status(), stop, 3600), 30)
