import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from unit.launcher.alone import forked
from vllm_multinode.launcher.proc import descendants
from vllm_multinode.launcher.processes import adopt_orphans
from vllm_multinode.launcher.reserve import Reserve


def take_all() -> Iterator[int]:
    """Every file descriptor that there is."""
    while True:
        try:
            yield os.open(os.devnull, os.O_RDONLY)
        except OSError:
            return


def test_an_engine_is_found_though_the_table_is_full(tmp_path: Path) -> None:
    def work() -> int:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        adopt_orphans()
        child = os.fork()
        if child == 0:
            os.execv("/bin/sleep", ["sleep", "30"])
        held = list(take_all())
        found = descendants(os.getpid())
        for descriptor in held:
            os.close(descriptor)
        os.kill(child, 9)
        return 0 if found == [child] else 1

    with forked(work, tmp_path, {"PATH": os.defpath}) as alone:
        assert alone.wait() == 0, alone.output()


def test_nothing_is_given_up_while_there_is_room() -> None:
    reserve = Reserve(kept=2)
    held = list(reserve._open)
    with reserve.lent():
        assert reserve._open == held
    reserve.close()
    assert not reserve._open


@pytest.mark.parametrize("times", [1, 3])
def test_it_is_filled_again(times: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserve = Reserve(kept=2)
    with ExitStack() as stack:
        stack.callback(reserve.close)
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        for descriptor in take_all():
            stack.callback(os.close, descriptor)
        for _ in range(times):
            with reserve.lent():
                assert not reserve._open
                os.close(os.open(os.devnull, os.O_RDONLY))
            assert len(reserve._open) == 2
