"""A pod that comes before its model waits for it: `multinode fetch` fills the claim meanwhile."""

import asyncio
import logging
from pathlib import Path
from typing import Final

from vllm_multinode.checkpoint.fetched import under_way
from vllm_multinode.contract import env
from vllm_multinode.launcher.states import State, Status

log = logging.getLogger(__name__)

_POLL: Final = 5.0


async def await_model(
    directory: Path, status: Status, stop: asyncio.Event, timeout: float, poll: float = _POLL
) -> None:
    """Return when nobody fills the directory any more, or after `timeout`; preflight then says how it is.

    Args:
        directory: of the model.
        status: says what is waited for.
        stop: set when the pod is asked to end.
        timeout: seconds; 0 does not wait.
        poll: seconds between two looks.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + timeout
    while loop.time() < ends and not stop.is_set():
        found = await asyncio.to_thread(under_way, directory)
        if found is None:
            break
        status.awaits_model = True
        status.set(State.PREFLIGHT, f"waiting for the model: {found}")
        try:
            await asyncio.wait_for(stop.wait(), min(poll, max(ends - loop.time(), 0)))
        except TimeoutError:
            continue
    else:
        if status.awaits_model and not stop.is_set():
            log.warning("the model was not here within %.0f s (%s)", timeout, env.MODEL_TIMEOUT)
    if status.awaits_model:
        status.set(State.PREFLIGHT)
