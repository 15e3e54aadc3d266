import asyncio

import pytest

from unit.launcher.pods import settings_of
from vllm_multinode.launcher import warming
from vllm_multinode.launcher.plan import AcceleratorKind, Process
from vllm_multinode.launcher.reaper import Reaper
from vllm_multinode.launcher.warming import warm_process, warmth

VLLM = Process(name="vllm", argv=("vllm",))


@pytest.mark.parametrize(
    ("changes", "processes", "own", "accelerator", "why"),
    [
        pytest.param(
            {"MULTINODE_WARM_RESTART": "false"}, (VLLM,), True, "cpu", "MULTINODE_WARM_RESTART is false",
            id="switched-off",
        ),
        pytest.param({}, (), True, "cpu", "Ray's raylet starts this node's share of the engine", id="ray"),
        pytest.param({}, (VLLM,), False, "cpu", "vllm belongs to another Python", id="another-vllm"),
        pytest.param(
            {}, (VLLM,), True, "gaudi", "vLLM starts its processes on gaudi by spawn alone", id="gaudi"
        ),
    ],
)  # fmt: skip
async def test_why_there_is_no_warm_process(
    changes: dict[str, str],
    processes: tuple[Process, ...],
    own: bool,
    accelerator: AcceleratorKind,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(warming, "own_vllm", lambda _: own)
    settings = settings_of("worker", **changes)
    reaper = Reaper()
    reaper.start(asyncio.get_running_loop())
    started = warm_process(settings, {}, frozenset(), reaper, processes, accelerator)
    assert started == why
    assert warmth(None, why) == f"off: {why}"
