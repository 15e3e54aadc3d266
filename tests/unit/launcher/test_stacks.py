"""A hung Python process says where it hangs before it ends."""

import subprocess
import sys

import pytest

from vllm_multinode.launcher import stacks

PROGRAM = "import time\ndef hangs_here():\n    print('up', flush=True)\n    time.sleep(600)\nhangs_here()\n"


async def test_stacks_of_a_process_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with subprocess.Popen(  # noqa: ASYNC220 - a few milliseconds
        [sys.executable, "-c", PROGRAM],
        env=stacks.ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert await stacks.write_stacks([process.pid]) == 1
        output, _ = process.communicate(timeout=30)
    assert b"in hangs_here" in output
    assert process.returncode == -6


async def test_nothing_to_ask() -> None:
    assert await stacks.write_stacks([]) == 0
    # One that has ended meanwhile is no error.
    with subprocess.Popen([sys.executable, "-c", ""]) as process:  # noqa: ASYNC220
        process.wait()
    assert await stacks.write_stacks([process.pid]) == 1
