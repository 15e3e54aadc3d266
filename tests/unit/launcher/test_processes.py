import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from unit.launcher.alone import check
from vllm_multinode.launcher.deaths import Deaths
from vllm_multinode.launcher.plan import Listener, Process
from vllm_multinode.launcher.proc import descendants, process_state
from vllm_multinode.launcher.processes import Engine, adopt_orphans, describe_status
from vllm_multinode.launcher.reaper import Reaper

DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 3)
        time.sleep(600)
    os._exit(0)
os.wait()
print("detached", flush=True)
"""


def python(script: str, name: str = "vllm", after: tuple[Listener, ...] = ()) -> Process:
    return Process(name=name, argv=(sys.executable, "-S", "-c", script), after=after)


def shell(script: str, name: str = "vllm", after: tuple[Listener, ...] = ()) -> Process:
    return Process(name=name, argv=("sh", "-c", script), after=after)


def engine(*processes: Process, unset: frozenset[str] = frozenset()) -> tuple[Engine, Reaper]:
    """As a supervisor has it: a reaper that listens, and orphans that come home."""
    reaper = Reaper()
    reaper.start(asyncio.get_running_loop())
    adopt_orphans()
    return Engine(processes, os.environ, unset, reaper), reaper


async def ended(found: Engine) -> str:
    async with asyncio.timeout(10):
        return await asyncio.shield(found.ended)


async def said(found: Engine, word: str) -> None:
    """Wait for a line of output."""
    async with asyncio.timeout(10):
        while not any(word in line for running in found.running for line in running.tail):
            await asyncio.sleep(0.01)


class TestEnding:
    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            pytest.param("exit 0", "vllm exited with status 0", id="zero-is-an-end-too"),
            pytest.param("exit 3", "vllm exited with status 3", id="status"),
            pytest.param("kill -9 $$", "vllm was killed by SIGKILL", id="signal"),
            pytest.param(
                "echo starting; echo 'ValueError: no such model' >&2; echo bye; exit 1",
                "vllm exited with status 1: ValueError: no such model",
                id="its-error",
            ),
            pytest.param(
                "echo last words; exit 1", "vllm exited with status 1: last words", id="its-last-line"
            ),
        ],
    )
    def test_an_end_is_told_in_a_line(self, tmp_path: Path, script: str, reason: str) -> None:
        async def scenario() -> None:
            found, _ = engine(shell(script))
            found.start()
            assert await ended(found) == reason

        check(scenario, tmp_path)

    def test_a_kill_for_memory_is_told_from_others(self, tmp_path: Path) -> None:
        kills = tmp_path / "sys/fs/cgroup/memory.events"
        kills.parent.mkdir(parents=True)
        kills.write_text("oom_kill 0\n")
        (kills.parent / "memory.max").write_text(f"{3 * 1024**3}\n")

        async def scenario() -> None:
            found, _ = engine(shell(f"echo oom_kill 1 > {kills}; kill -9 $$"))
            found._deaths = Deaths(tmp_path)
            found.start()
            limit = "the container's memory limit of 3.0 GiB"
            assert await ended(found) == f"vllm was killed by the kernel because {limit} was reached"

        check(scenario, tmp_path)

    def test_the_first_end_is_what_counts(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            found, _ = engine(shell("sleep 600", name="ray"), shell("exit 7"))
            found.start()
            assert await ended(found) == "vllm exited with status 7"
            await found.kill()
            assert found.ended.result() == "vllm exited with status 7"

        check(scenario, tmp_path)

    def test_a_missing_program_is_a_reason(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            found, _ = engine(Process(name="vllm", argv=("no-such-program", "serve")))
            found.start()
            assert await ended(found) == "no-such-program cannot be started: No such file or directory"
            await found.kill()

        check(scenario, tmp_path)

    def test_output_that_is_no_text_does_no_harm(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            found, _ = engine(shell(r"printf '\377\376\n'; echo 'OSError: x'; exit 1"))
            found.start()
            assert (await ended(found)).endswith(": OSError: x")

        check(scenario, tmp_path)


class TestKilling:
    def test_a_daemon_that_left_session_and_parent_is_found(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            found, _ = engine(python(DAEMON))
            found.start()
            await ended(found)
            # Its parent has ended; whom else would it belong to?
            assert len(descendants(os.getpid())) == 1
            await found.kill()
            assert descendants(os.getpid()) == []

        check(scenario, tmp_path)

    def test_a_process_that_waits_for_its_turn_is_never_started(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            found, _ = engine(
                shell("sleep 600", name="ray"), shell("true", after=(Listener(host="127.0.0.1", port=1),))
            )
            found.start()
            async with asyncio.timeout(10):
                while not found.running:
                    await asyncio.sleep(0.01)
            await found.kill()
            assert [running.name for running in found.running] == ["ray"]

        check(scenario, tmp_path)

    def test_stopped_processes_are_seen_and_killed(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            found, _ = engine(shell("echo ready; sleep 600"))
            found.start()
            await said(found, "ready")
            (running,) = found.running
            os.kill(running.pid, signal.SIGSTOP)
            async with asyncio.timeout(10):
                while process_state(running.pid) != "T":
                    await asyncio.sleep(0.01)
            await found.kill()
            assert process_state(running.pid) != "T"

        check(scenario, tmp_path)


class TestStarting:
    def test_a_process_waits_for_the_port_of_the_one_before(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            listener = socket.create_server(("127.0.0.1", 0))
            port = listener.getsockname()[1]
            listener.close()
            found, _ = engine(
                shell("echo ready; sleep 600", name="ray"),
                shell("exit 4", after=(Listener(host="127.0.0.1", port=port),)),
            )
            found.start()
            await said(found, "ready")
            assert [running.name for running in found.running] == ["ray"]
            with socket.create_server(("127.0.0.1", port)):
                assert await ended(found) == "vllm exited with status 4"
            await found.kill()

        check(scenario, tmp_path)

    def test_the_pods_environment_wins_over_defaults_and_loses_to_the_engines(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            os.environ.update({"A": "pod", "B": "pod", "VLLM_PORT": "tcp://10.0.0.1:80"})
            found, _ = engine(
                Process(
                    name="vllm",
                    argv=("sh", "-c", "echo $A $B $C ${VLLM_PORT:-unset}"),
                    defaults={"A": "default", "C": "default"},
                    environment={"B": "engine"},
                ),
                unset=frozenset({"VLLM_PORT"}),
            )
            found.start()
            assert await ended(found) == "vllm exited with status 0: pod engine default unset"

        check(scenario, tmp_path)

    def test_a_program_beside_the_interpreter_needs_no_activated_environment(self, tmp_path: Path) -> None:
        program = tmp_path / "vllm"
        program.write_text("#!/bin/sh\necho beside the interpreter\n")
        program.chmod(0o755)

        async def scenario() -> None:
            sys.executable = str(tmp_path / "python")
            found, _ = engine(Process(name="vllm", argv=("vllm", "serve")))
            found.start()
            assert (await ended(found)).endswith("beside the interpreter")

        check(scenario, tmp_path)

    def test_its_output_is_passed_on_without_our_own_polling(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            polls = "".join(
                f'(APIServer pid=1) INFO: 127.0.0.1:50{n:03} - "GET /{path} HTTP/1.1" 200 OK\n'
                for n, path in enumerate(("health", "load", "metrics"))
            )
            client = 'INFO: 127.0.0.1:1 - "POST /v1/completions HTTP/1.1" 200 OK'
            found, _ = engine(Process(name="vllm", argv=("printf", "%s", f"{polls}{client}\n")))
            found.start()
            await ended(found)
            assert list(found.running[0].tail) == [client]

        check(scenario, tmp_path)

    def test_the_log_shows_the_command_without_secrets(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def scenario() -> None:
            caplog.set_level("INFO")
            found, _ = engine(Process(name="vllm", argv=("true", "--seed", "1", "--api-key", "s3cret")))
            found.start()
            await ended(found)
            assert caplog.messages == ["starting vllm: true --seed 1 --api-key '***'"]

        check(scenario, tmp_path)


class TestReaper:
    def test_adopted_orphans_are_collected(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            engine()
            # The shell ends at once; its child is ours then, and ends a little later.
            process = await asyncio.to_thread(
                subprocess.run,
                ["sh", "-c", "(sleep 0.05 &) ; exit 0"],
                check=False,
                stdout=subprocess.DEVNULL,
            )
            assert process.returncode == 0
            async with asyncio.timeout(10):
                while descendants(os.getpid()):
                    await asyncio.sleep(0.01)

        check(scenario, tmp_path)

    def test_a_status_goes_to_whom_it_belongs(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            _, reaper = engine()
            futures = []
            for code in (1, 2, 3):
                popen = subprocess.Popen(["sh", "-c", f"exit {code}"])  # noqa: ASYNC220 - as Engine does
                futures.append(reaper.expect(popen.pid))
                popen.returncode = 0
            async with asyncio.timeout(10):
                assert await asyncio.gather(*futures) == [1, 2, 3]

        check(scenario, tmp_path)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        pytest.param(0, "exited with status 0", id="zero"),
        pytest.param(-15, "was killed by SIGTERM", id="signal"),
        pytest.param(-250, "exited with status -250", id="unknown-signal"),
    ],
)
def test_a_status_in_words(status: int, words: str) -> None:
    assert describe_status(status) == words
