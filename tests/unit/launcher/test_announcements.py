import asyncio
from collections.abc import Coroutine
from typing import Any

from vllm_multinode.launcher.announcements import Announcements


class Members:
    """Who is told, and when."""

    def __init__(self, takes: float = 0.0) -> None:
        self.told: list[float] = []
        self._takes = takes
        self._tasks: list[asyncio.Task[None]] = []

    async def announce(self) -> None:
        self.told.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self._takes)

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def until_told(self, times: int) -> None:
        async with asyncio.timeout(60):
            while len(self.told) < times:
                await asyncio.sleep(0.005)
            await asyncio.gather(*self._tasks)


async def test_changes_that_follow_each_other_closely_are_one_message() -> None:
    members = Members()
    announcements = Announcements(members.announce, members.in_background)
    for _ in range(100):
        announcements.soon()
    await members.until_told(1)
    announcements.soon()
    await members.until_told(2)
    assert len(members.told) == 2


async def test_the_longer_it_takes_to_tell_them_the_less_often_they_are_told() -> None:
    members = Members(takes=0.02)
    announcements = Announcements(members.announce, members.in_background)
    announcements.soon()
    await members.until_told(1)
    asked = asyncio.get_running_loop().time()
    announcements.soon()
    await members.until_told(2)
    assert members.told[1] - asked >= 0.02 / 0.1 - 0.01
