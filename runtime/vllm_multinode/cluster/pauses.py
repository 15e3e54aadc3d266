"""Pauses between two looks at a cluster, which another thread may end."""

import threading
import time

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode


def pause(seconds: float, cancel: threading.Event | None) -> None:
    """Wait.

    Args:
        seconds: to wait.
        cancel: ends it when it is set.

    Raises:
        MultinodeError: INTERRUPTED: it was cancelled.
    """
    if cancel is None:
        time.sleep(seconds)
    elif cancel.wait(seconds):
        raise MultinodeError(
            ExitCode.INTERRUPTED, "The wait was cancelled; the deployment continues in the cluster."
        )
