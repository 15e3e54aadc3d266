"""Engines are forked from a process that has imported what they need; modules stand in for vLLM."""

import asyncio
import os
import signal
import textwrap
from pathlib import Path

import pytest

from unit.launcher.alone import check
from vllm_multinode.launcher import warm
from vllm_multinode.launcher.plan import AcceleratorKind, Process
from vllm_multinode.launcher.proc import descendants, engine_tree
from vllm_multinode.launcher.processes import Engine, adopt_orphans, die_with_parent
from vllm_multinode.launcher.reaper import Reaper
from vllm_multinode.launcher.warm import Warm, refusal

PROGRAM = "import sys, os, late\nprint(late.TOKEN, os.environ.get('NEW'), *sys.argv[1:], flush=True)\n"
THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"


def modules(folder: Path, **sources: str) -> tuple[str, ...]:
    """Write modules that are imported one after the other."""
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(source))
    return tuple(sources)


def warmed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, base: tuple[str, ...], further: tuple[str, ...] = ()
) -> tuple[Warm, Reaper]:
    """A warm process of these modules, as a supervisor has it."""
    monkeypatch.setattr(warm, "_BASE", base)
    monkeypatch.setattr(warm, "_FURTHER", further)
    monkeypatch.setattr(warm, "_WORKERS", {"cpu": "no_such_module"})
    reaper = Reaper()
    reaper.start(asyncio.get_running_loop())
    adopt_orphans()
    found = Warm("cpu", environment(folder), reaper, before=die_with_parent)
    found.start()
    return found, reaper


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), **more}


async def eventually(true: object) -> None:
    assert callable(true)
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


async def run(found: Warm, reaper: Reaper, folder: Path, *arguments: str) -> tuple[str, int] | None:
    """Fork one; what it writes, and its status."""
    read, write = os.pipe()
    given = environment(folder, NO_PROXY="10.0.0.2")
    forked = await found.fork(("program", *arguments), given, PROGRAM, write, write)
    os.close(write)
    with os.fdopen(read, "rb") as output:
        if forked is None:
            return None
        status = reaper.expect(forked.pid)
        forked.release()
        text = await asyncio.to_thread(output.read)
    async with asyncio.timeout(60):
        return text.decode().strip(), await status


class TestForks:
    def test_find_their_imports_and_get_their_own_arguments(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def scenario() -> None:
            names = modules(tmp_path, late="import os\nTOKEN = os.getpid()\n")
            found, reaper = warmed(tmp_path, monkeypatch, names)
            for argument in ("first", "second"):
                answer = await run(found, reaper, tmp_path, argument)
                # Imported once, in the warm process.
                assert answer == (f"{found.pid} None {argument}", 0)
            found.close()

        check(scenario, tmp_path)

    def test_are_refused_another_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scenario() -> None:
            found, _ = warmed(tmp_path, monkeypatch, modules(tmp_path, late="TOKEN = 1\n"))
            other = environment(tmp_path, VLLM_LOGGING_LEVEL="DEBUG")
            assert await found.fork(("program",), other, PROGRAM, 1, 2) is None
            assert found.ready
            found.close()

        check(scenario, tmp_path)

    def test_outlive_the_warm_process(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scenario() -> None:
            modules(tmp_path, late="TOKEN = 1\n")
            found, reaper = warmed(tmp_path, monkeypatch, ("late",))
            read, write = os.pipe()
            source = "import sys\nprint('up', flush=True)\nsys.stdin.read()\nimport time\ntime.sleep(600)\n"
            forked = await found.fork(("program",), environment(tmp_path), source, write, write)
            assert forked is not None
            status = reaper.expect(forked.pid)
            forked.release()
            with os.fdopen(read, "rb") as output:
                assert await asyncio.to_thread(output.readline) == b"up\n"
            os.close(write)
            first = found.pid
            os.kill(first, signal.SIGKILL)
            # It is started once more.
            await eventually(lambda: found.ready and found.pid not in (0, first))
            assert not status.done()
            os.kill(forked.pid, signal.SIGTERM)
            async with asyncio.timeout(60):
                assert await status == -signal.SIGTERM
            found.close()

        check(scenario, tmp_path)

    def test_end_where_nobody_lets_them_begin(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scenario() -> None:
            modules(tmp_path, late="TOKEN = 1\n")
            found, reaper = warmed(tmp_path, monkeypatch, ("late",))
            await eventually(lambda: found.ready)
            task = asyncio.create_task(found.fork(("program",), environment(tmp_path), PROGRAM, 1, 2))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await run(found, reaper, tmp_path, "next") == ("1 None next", 0)
            await eventually(lambda: not engine_tree())
            found.close()

        check(scenario, tmp_path)


class TestUnfit:
    def test_a_module_with_a_thread_is_left_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def scenario() -> None:
            modules(tmp_path, late="TOKEN = 1\n", threads=THREAD)
            found, reaper = warmed(tmp_path, monkeypatch, ("late",), ("threads",))
            assert await run(found, reaper, tmp_path) == ("1 None", 0)
            found.close()

        check(scenario, tmp_path)

    @pytest.mark.parametrize(
        ("source", "why"),
        [
            pytest.param(THREAD, "late cannot be imported before a fork: it has 1 threads more", id="thread"),
            pytest.param(
                """
                import sys, types
                cuda = types.SimpleNamespace(is_initialized=lambda: True)
                sys.modules["torch"] = types.SimpleNamespace(cuda=cuda)
                """,
                "torch.cuda is initialized",
                id="context-on-a-gpu",
            ),
            pytest.param("import os\nos._exit(3)\n", "ended (it is gone)", id="crash"),
        ],
    )
    def test_what_cannot_be_forked_is_said_by_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, why: str
    ) -> None:
        async def scenario() -> None:
            found, reaper = warmed(tmp_path, monkeypatch, modules(tmp_path, late=source))
            assert await run(found, reaper, tmp_path) is None
            assert why in found.off
            assert not found.ready
            await eventually(lambda: not descendants(os.getpid()))

        check(scenario, tmp_path)

    @pytest.mark.parametrize(
        ("accelerator", "refused"), [("cuda", False), ("rocm", False), ("cpu", False), ("xpu", True)]
    )
    def test_accelerators(self, accelerator: AcceleratorKind, refused: bool) -> None:
        assert bool(refusal(accelerator)) is refused


def test_an_engine_ends_without_the_warm_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        modules(tmp_path, late="TOKEN = 1\n")
        found, reaper = warmed(tmp_path, monkeypatch, ("late",))
        monkeypatch.setattr(
            "vllm_multinode.launcher.processes.VLLM", "import sys\nprint('up')\nsys.exit(7)\n"
        )
        given = environment(tmp_path)
        monkeypatch.setattr("vllm_multinode.launcher.processes.find_program", lambda *_: "/bin/vllm")
        monkeypatch.setattr("vllm_multinode.launcher.processes.process_environment", lambda *_: given)
        engine = Engine((Process(name="vllm", argv=("vllm", "serve")),), given, frozenset(), reaper, found)
        engine.start()
        async with asyncio.timeout(60):
            assert await asyncio.shield(engine.ended) == "vllm exited with status 7: up"
        await engine.kill()
        assert descendants(os.getpid()) == [found.pid]
        assert engine_tree() == []
        found.close()
        await eventually(lambda: not descendants(os.getpid()))

    check(scenario, tmp_path)
