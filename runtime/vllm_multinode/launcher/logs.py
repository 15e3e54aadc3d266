"""The log of a pod: one line each on standard error, with its time in UTC."""

import logging
import sys
import time

from aiohttp.http_exceptions import HttpProcessingError


def silence_strangers() -> None:
    """A stranger's bytes that are no HTTP, or its connection that ended, are not worth a traceback each."""
    logging.getLogger("aiohttp.server").addFilter(is_ours)


def is_ours(record: logging.LogRecord) -> bool:
    """Whether aiohttp complains of what this package has done, and not of what a stranger has sent."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | ConnectionError)


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
    silence_strangers()
    package = logging.getLogger("vllm_multinode")
    package.addHandler(handler)
    package.setLevel(level)
