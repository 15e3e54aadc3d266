"""The links of local nodes, made slow."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.services import LocalGroup


@contextmanager
def slow_link(group: LocalGroup, rate: str) -> Iterator[None]:
    """The world's end of the last node's link sends no faster."""
    inside = _world(group)
    links = subprocess.run([*inside, "ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    link = [line.partition("@")[0] for line in links.splitlines() if "@" in line][-1]
    shape = ["tc", "qdisc", "add", "dev", link, "root", "tbf", "rate", rate, "burst", "1600", "latency", "2s"]
    try:
        subprocess.run([*inside, *shape], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no tc with a token bucket here: {error}")
    try:
        yield
    finally:
        subprocess.run([*inside, "tc", "qdisc", "del", "dev", link, "root"], check=True)


def _world(group: LocalGroup) -> list[str]:
    """What enters the network namespace that all links of a run end in."""
    runner = group.run.process.pid
    children = Path(f"/proc/{runner}/task/{runner}/children").read_text().split()
    own = Path("/proc/self/ns/net").readlink()
    for pid in (*children, str(runner)):
        if Path(f"/proc/{pid}/ns/net").readlink() != own:
            return ["nsenter", "-t", pid, "-U" if os.geteuid() else "-n", "-n"]
    raise AssertionError("the run has no network of its own")
