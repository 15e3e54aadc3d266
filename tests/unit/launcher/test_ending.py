import asyncio
from pathlib import Path
from typing import Self

import pytest

from vllm_multinode.launcher.door import Command, Door
from vllm_multinode.launcher.ending import Requests
from vllm_multinode.launcher.engine_api import EngineApi, Sample


class Asked(EngineApi):
    """An API whose metrics are told by the test."""

    def __init__(self, busy: list[bool]) -> None:
        super().__init__(1, tls=None, api_key=None, model=None)
        self._busy = busy

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def sample(self, timeout: float = 10) -> Sample | None:
        return Sample(load=float(self._busy.pop(0)), requests=0, step=()) if self._busy else None


async def never() -> str:
    await asyncio.Event().wait()
    return ""


async def at_once() -> str:
    return "lost llm-worker"


def requests(folder: Path | None, limit: float = 60, busy: tuple[bool, ...] = ()) -> Requests:
    return Requests(folder, lambda: Asked(list(busy)), limit)


def server(found: Requests, under_way: int) -> Door:
    """The API server's side, with so many requests."""
    assert found.page is not None
    door = Door(found.page)
    door.attach()
    door.count(under_way=under_way)
    return door


async def ordered(door: Door, command: Command) -> None:
    async with asyncio.timeout(10):
        while door.command is not command:
            await asyncio.sleep(0.01)


async def test_requests_under_way_end_in_their_own_time(tmp_path: Path) -> None:
    found = requests(tmp_path)
    door = server(found, under_way=1)
    finishing = asyncio.create_task(found.finish("stopping", 7, never()))
    await asyncio.sleep(0.1)
    assert (door.command, door.reason, door.retry_after) == (Command.CLOSED, "stopping", 7)
    assert not finishing.done()
    door.count(under_way=-1)
    await asyncio.wait_for(finishing, 10)
    assert door.command is Command.CLOSED
    found.close()
    assert not door.path.exists()


async def test_what_is_left_at_the_end_of_the_time_is_cut(tmp_path: Path) -> None:
    found = requests(tmp_path, limit=0.1)
    door = server(found, under_way=1)
    finishing = asyncio.create_task(found.finish("stopping", 7, never()))
    await ordered(door, Command.CUT)
    assert door.reason == "stopping; its time is up"
    door.count(under_way=-1)
    await asyncio.wait_for(finishing, 10)


async def test_nobody_waits_for_an_engine_that_cannot_answer(tmp_path: Path) -> None:
    found = requests(tmp_path)
    door = server(found, under_way=1)
    await asyncio.wait_for(found.finish("w is leaving", 7, at_once()), 10)
    assert door.reason == "w is leaving; lost llm-worker"


async def test_a_second_call_goes_on_with_the_time_that_is_left(tmp_path: Path) -> None:
    found = requests(tmp_path, limit=0.2)
    door = server(found, under_way=1)
    first = asyncio.create_task(found.finish("w is leaving", 7, never()))
    await asyncio.sleep(0.1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await ordered(door, Command.CLOSED)
    await asyncio.sleep(0.1)
    second = asyncio.create_task(found.finish("stopping", 7, never()))
    await ordered(door, Command.CUT)
    door.count(under_way=-1)
    await asyncio.wait_for(second, 10)


@pytest.mark.parametrize("attached", [True, False], ids=["not-attached", "no-page"])
async def test_without_the_middleware_the_metrics_tell(tmp_path: Path, attached: bool) -> None:
    found = requests(tmp_path if attached else None, busy=(True, False))
    await asyncio.wait_for(found.finish("stopping", 7, never()), 10)
    await asyncio.wait_for(found.cut("stopping", 7), 10)
    found.close()


async def test_a_folder_that_cannot_be_written_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = requests(tmp_path / "absent")
    assert found.page is None
    assert "break off" in caplog.text
