"""What an engine's processes write: copied to the supervisor's output, and searched for why one has ended."""

import contextlib
import re
import sys
from collections import deque
from typing import IO, Final

from vllm_multinode.launcher.masking import MASK

# An engine's last words that only say that something else was said before.
_ECHOES: Final = (
    "See root cause above",
    "Engine core initialization failed",
    "EngineDeadError",
    "SystemExit",
)
# Pydantic tells the cause in the line below its exception, and then the whole input.
# A warning of vLLM's about the limit of open files quotes one that has not happened.
_ERROR: Final = re.compile(
    r"(?<!`)\b"
    r"([A-Z]\w*(?:Error|Exception)\b: .+|error: .+|(?:Value|Assertion) (?:error|failed), .+?(?= \[type=|$))"
)
_OWN_POLLING: Final = re.compile(rb'127\.0\.0\.1:\d+ - "GET /(health|load|metrics) HTTP/1\.1" 200')
_PREFIX: Final = re.compile(r"^(\x1b\[[0-9;]*m)?\([^)]*pid=\d+[^)]*\)\s*(\x1b\[[0-9;]*m)?\s*")


def last_error(lines: list[str]) -> str:
    """The line that says best why an engine ended, or the last one, or nothing."""
    found = [match.group(1).strip() for line in lines if (match := _ERROR.search(_PREFIX.sub("", line)))]
    telling = [text for text in found if not any(echo in text for echo in _ECHOES)]
    if telling:
        return telling[-1]
    if found:
        return found[-1]
    return next((_PREFIX.sub("", line).strip() for line in reversed(lines) if line.strip()), "")


def last_words(pid: int, before: list[str], now: list[str]) -> str:
    """The error that tells why a process died, or nothing.

    Args:
        pid: its number.
        before: what the engine had written when it died.
        now: what it has written since as well, of which only the process's own lines count.
    """
    own = [line for line in now if re.search(rf"\bpid={pid}\b", _prefix(line))]
    lines = next((some for some in (own, before) if any(map(_ERROR.search, some))), [])
    return last_error(lines) if lines else ""


def _prefix(line: str) -> str:
    """By which vLLM says which of its processes has written it."""
    found = _PREFIX.match(line)
    return found[0] if found else ""


def copy_output(output: IO[bytes], tail: deque[str], secrets: tuple[str, ...]) -> None:
    """Copy a process's output to ours, in a thread, so that a slow reader never blocks the supervisor.

    An engine that rejects an option repeats it with its value: no secret of its arguments is passed on.
    """
    hidden = [secret.encode(errors="surrogateescape") for secret in secrets]
    write_all = sys.stdout.buffer.write
    for line in output:
        if _OWN_POLLING.search(line):
            continue
        for secret in hidden:
            line = line.replace(secret, MASK.encode())
        tail.append(line.decode(errors="replace").rstrip())
        with contextlib.suppress(OSError, ValueError):
            write_all(line)
            sys.stdout.buffer.flush()
