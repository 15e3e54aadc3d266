"""The log of a pod: one line each on standard error, with its time in UTC."""

import logging
import sys
import time


def log_to_stderr(level: int | str = logging.INFO, pod: str = "") -> None:
    """Send what this package logs to standard error.

    Args:
        level: the least that is logged.
        pod: name to begin each line with, behind the time.
    """
    who = f"{pod} " if pod else ""
    formatter = logging.Formatter(f"%(asctime)s {who}%(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    package = logging.getLogger("vllm_multinode")
    package.addHandler(handler)
    package.setLevel(level)
