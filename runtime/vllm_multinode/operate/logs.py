"""The logs of all nodes of a service as one stream: by time, with rank, engine and supervisor told apart."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from vllm_multinode.contract.text import shown
from vllm_multinode.operate.masks import without_secrets

Writer = Literal["engine", "supervisor", "kubelet"]

_STAMP: Final = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z) ?")
_SUPERVISOR: Final = re.compile(
    r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (?:\S+ )?(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) "
)
_OF_VLLM: Final = re.compile(r"\b(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) (\d\d-\d\d \d\d:\d\d:\d\d) ")
_OF_RAY: Final = re.compile(r"^(?:\([^)]*\) )?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})")
_DAY: Final = 86_400
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_MATTERS: Final = re.compile(
    r"\b(?:ERROR|CRITICAL|FATAL)\b|Traceback \(most recent|^\S*(?:Error|Exception)\b:?|NCCL WARN"
    r"|state: (?:failed|recovering)|\bmultinode: |\bdied\b|\bwas killed by\b"
    r"|exited with status [1-9-]|no heartbeat"
)
_LONGEST: Final = 4000


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        at: Unix time in seconds; that of the line before where it has none of its own.
        node: what the reader calls the node, such as 0 or llama/1.
        role: head or worker.
        pod: that wrote it.
        writer: engine, supervisor, or the kubelet for a termination log.
        text: without its time and without colours.
        machine: that the pod runs on; empty where nobody can tell.
    """

    at: float
    node: str
    role: str
    pod: str
    writer: Writer
    text: str
    machine: str = ""

    def is_of(self, name: str) -> bool:
        """Whether a rank, node or pod of this name has written it."""
        return name in (self.node, self.node.rpartition("/")[2], self.pod, self.machine)

    @property
    def matters(self) -> bool:
        """It tells of something that went wrong."""
        return self.writer == "kubelet" or bool(_MATTERS.search(self.text))

    def as_object(self) -> dict[str, Any]:
        """For programs."""
        at = datetime.fromtimestamp(self.at, UTC).isoformat() if self.at else None
        return {**vars(self), "at": at}


def read(
    text: str,
    *,
    node: str,
    role: str,
    pod: str,
    began: float = 0.0,
    stamped: bool = False,
    machine: str = "",
) -> Iterator[Line]:
    """The lines of one pod's log.

    Args:
        text: as it was written.
        node: of the lines.
        role: of the lines.
        pod: of the lines.
        began: time of the first line where it has none.
        stamped: every line begins with the time that the API has added.
        machine: of the lines.
    """
    at = began
    for raw in text.splitlines():
        line = _COLOURS.sub("", raw)
        if stamped:
            at, line = _time_of(line, at), _STAMP.sub("", line, count=1)
        writer, line, own = _written_by(line)
        if not stamped:
            # Lines of one log stay in their order, whatever clocks their writers have.
            at = max(own or at, at)
        yield Line(at, node, role, pod, writer, without_secrets(shown(line, _LONGEST)), machine)


def _written_by(line: str) -> tuple[Writer, str, float | None]:
    """Who wrote a line, its text, and its own time where it has one."""
    if line.startswith('{"time":'):
        try:
            found = json.loads(line)
            text = f"{found['level']} {found['message']}"
            return "supervisor", text, _parsed(str(found["time"]))
        except (ValueError, LookupError, TypeError):
            return "engine", line, None
    if _SUPERVISOR.match(line):
        stamp = _STAMP.match(line)
        return "supervisor", _STAMP.sub("", line, count=1), _parsed(stamp[1]) if stamp else None
    return ("supervisor" if line.startswith("multinode: ") else "engine"), line, _own_time(line)


def _own_time(line: str) -> float | None:
    """Of a line of vLLM's or Ray's, which write this machine's time; vLLM leaves the year out."""
    if found := _OF_RAY.match(line):
        return _read_time(found[1], "%Y-%m-%d %H:%M:%S,%f")
    if found := _OF_VLLM.search(line[:200]):
        now = datetime.now().astimezone()
        at = _read_time(f"{now.year}-{found[1]}", "%Y-%m-%d %H:%M:%S")
        if at is not None and at > now.timestamp() + _DAY:
            return _read_time(f"{now.year - 1}-{found[1]}", "%Y-%m-%d %H:%M:%S")
        return at
    return None


def _read_time(text: str, form: str) -> float | None:
    try:
        return datetime.strptime(text, form).astimezone().timestamp()
    except ValueError:
        return None


def _time_of(line: str, otherwise: float) -> float:
    stamp = _STAMP.match(line)
    return (_parsed(stamp[1]) if stamp else None) or otherwise


def _parsed(stamp: str) -> float | None:
    # The API writes nanoseconds, which Python reads from 3.11 on as microseconds.
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", stamp)).timestamp()
    except ValueError:
        return None


def merged(streams: Iterable[Iterable[Line]]) -> list[Line]:
    """All lines in the order of their times; those of one pod stay in their own order."""
    return sorted((line for stream in streams for line in stream), key=lambda line: line.at)


def as_text(line: Line) -> str:
    """For a reader."""
    clock = datetime.fromtimestamp(line.at, UTC).strftime("%H:%M:%S") if line.at else "--:--:--"
    return f"{clock} {line.node:>2} {line.role:<6} {line.writer:<10} {line.text}"
