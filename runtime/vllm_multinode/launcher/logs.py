"""The log of a pod: one line each on standard error, with its time in UTC."""

import json
import logging
import sys
import time
from typing import Final, Literal

from aiohttp.http_exceptions import HttpProcessingError

_CLOCK: Final = "%Y-%m-%dT%H:%M:%SZ"


def silence_strangers() -> None:
    """A stranger's bytes that are no HTTP, or its connection that ended, are not worth a traceback each."""
    logging.getLogger("aiohttp.server").addFilter(is_ours)


def is_ours(record: logging.LogRecord) -> bool:
    """Whether aiohttp complains of what this package has done, and not of what a stranger has sent."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | ConnectionError)


class _Json(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, pod: str) -> None:
        super().__init__(datefmt=_CLOCK)
        self._pod = pod

    def format(self, record: logging.LogRecord) -> str:
        found = {
            "time": self.formatTime(record, self.datefmt),
            "level": record.levelname,
            "pod": self._pod,
            "message": record.getMessage(),
        }
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return json.dumps(found, ensure_ascii=False)


def log_to_stderr(
    level: int | str = logging.INFO, pod: str = "", style: Literal["text", "json"] = "text"
) -> None:
    """Send what this package logs to standard error.

    Args:
        level: the least that is logged.
        pod: name to begin each line with, behind the time.
        style: lines for people, or a JSON object each.
    """
    who = f"{pod} " if pod else ""
    formatter = (
        _Json(pod)
        if style == "json"
        else logging.Formatter(f"%(asctime)s {who}%(levelname)s %(message)s", datefmt=_CLOCK)
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    silence_strangers()
    package = logging.getLogger("vllm_multinode")
    package.addHandler(handler)
    package.setLevel(level)
