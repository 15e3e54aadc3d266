"""Short slices: asked of the real kernel, in a thread of their own so that the test run keeps its own."""

import os
import platform
import re
import threading
from pathlib import Path

import pytest

from vllm_multinode.launcher import scheduling

KERNEL = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])
SCHED = Path("/proc/thread-self/sched")


def in_a_thread(slices: list[str]) -> None:
    assert scheduling.ask_for_short_slices()
    slices.extend(re.findall(r"se\.slice\s*:\s*(\d+)", SCHED.read_text()))
    if (child := os.fork()) == 0:
        found = re.findall(r"se\.slice\s*:\s*(\d+)", SCHED.read_text())
        os._exit(0 if found != slices else 1)
    slices.append(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))


@pytest.mark.skipif(KERNEL < (6, 12) or not SCHED.exists(), reason="this kernel has no slices to ask for")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_kernel_takes_it_and_children_do_not_inherit_it() -> None:
    slices: list[str] = []
    thread = threading.Thread(target=in_a_thread, args=(slices,))
    thread.start()
    thread.join(10)
    assert slices == ["500000", "0"]


def test_an_unknown_machine_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert not scheduling.ask_for_short_slices()
