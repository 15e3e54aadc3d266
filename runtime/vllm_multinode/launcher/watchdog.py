"""Busy or hung? By the steps of the engine, never by the length of the queue.

vLLM's `/health` reads one flag and stays 200 while every request hangs. What tells is what the scheduler
publishes in `/metrics` after each step (`engines.vllm.STEP_METRICS`): while requests are under way some
of it changes, the fill of the KV cache in a prefill, the counters of tokens afterwards. Where nothing has
changed for most of the hang timeout, one small request is sent. A scheduler that still steps takes it in,
and then the number of requests changes, however full it is.
"""

import asyncio
from typing import Final

from vllm_multinode.launcher.engine_api import EngineApi, Sample

# A scheduler without work answers one token in far less.
_CANARY: Final = 15.0
# Beyond the hang timeout, for the last answer.
_MARGIN: Final = 1.0
# Between two samples: what happens just after one is seen with the next.
_LONGEST_PAUSE: Final = 3.0
_CANARY_POLL: Final = 0.25


class Progress:
    """Judges a series of samples. Pure; the clock is passed in.

    The API server's count is only compared with what it was when the engine was last known to be idle: one
    that has drifted, up or down, neither looks like a request nor hides one.

    Args:
        patience: seconds without a step, with requests under way, after which the engine is to be asked.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._step: tuple[float, ...] | None = None
        self._since = 0.0
        self._idle_load = 0.0
        self._last_load = 0.0
        self._arrived = False

    def judge(self, sample: Sample, now: float) -> float | None:
        """Seconds without a step once they exceed the patience, else None."""
        if sample.step != self._step:
            self._step = sample.step
            self._since = now
            self._arrived = False
        elif sample.load != self._last_load:
            # Requests come or go without a step: even if the count is back at its idle value later.
            self._arrived = True
        self._last_load = sample.load
        if sample.requests <= 0 and sample.load == self._idle_load and not self._arrived:
            self._since = now
        stuck = now - self._since
        return stuck if stuck >= self._patience else None

    def forgive(self, sample: Sample) -> None:
        """The engine has shown that it lives: count from the next sample on.

        Args:
            sample: taken since. Where the scheduler has no request, what `/load` counts is its idle value.
        """
        self._step = None
        if sample.requests <= 0:
            self._idle_load = sample.load
        self._arrived = False


async def watch(api: EngineApi, timeout: float) -> str:
    """Return only when the engine is dead or hung, with the reason.

    Args:
        api: of the engine, which has answered once.
        timeout: seconds without a step, with requests under way, after which it counts as hung. The engine is
            asked before, so that its time to answer does not come on top.
    """
    pause = min(max(timeout / 10, 0.2), _LONGEST_PAUSE)
    progress = Progress(max(timeout / 2, timeout - _CANARY))
    loop = asyncio.get_running_loop()
    answered = loop.time()
    while True:
        await asyncio.sleep(pause)
        healthy = await api.healthy()
        if healthy is False:
            return "vLLM's /health says that its engine is dead"
        sample = await api.sample() if healthy else None
        now = loop.time()
        if sample is None:
            if now - answered > timeout:
                return f"the API server has not answered for {now - answered:.0f} s"
            continue
        answered = now
        stuck = progress.judge(sample, now)
        if stuck is None:
            continue
        if await lives(api, sample, timeout + _MARGIN - stuck):
            # After it, because the canary itself may be counted down twice.
            progress.forgive(await api.sample() or sample)
            continue
        # At least the canary waits, whatever a count that has drifted says.
        waiting, stuck = max(sample.load, sample.requests, 1), stuck + loop.time() - now
        return f"hung: {waiting:.0f} requests under way and no progress for {stuck:.0f} s"


async def lives(api: EngineApi, still: Sample, timeout: float) -> bool:
    """Send one small request, and tell whether the engine shows any sign of life meanwhile.

    Signs are a step of the scheduler, which need not have answered yet, and an answer. An answer counts, an
    error too, as long as the scheduler has no request: with nothing to do, an engine that takes no request of
    ours is not shown to hang.

    Args:
        api: of the engine.
        still: what it has shown so far.
        timeout: seconds for any sign.
    """
    canary = asyncio.create_task(api.canary(timeout))
    try:
        async with asyncio.timeout(timeout):
            while True:
                sample = await api.sample()
                if sample is not None and sample.step != still.step:
                    return True
                if canary.done() and canary.result() is not None and still.requests <= 0:
                    return True
                # Done, it says nothing more; a step may still come.
                await asyncio.sleep(_CANARY_POLL)
    except TimeoutError:
        return False
    finally:
        canary.cancel()
        await asyncio.gather(canary, return_exceptions=True)
