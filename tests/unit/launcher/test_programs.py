import os
import sys
from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.programs import find_program, of_distribution, program_path


def script(folder: Path, first: str, name: str = "vllm") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"{first}\n")
    file.chmod(0o755)
    return file


def environment(folder: Path) -> Path:
    """A virtual environment's interpreter, as far as anybody looks."""
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").touch()
    return folder / "bin" / "python3"


@pytest.mark.parametrize(
    "first",
    [
        pytest.param("#!{python}", id="direct"),
        pytest.param("#!{python} -sE", id="with-options"),
        pytest.param('#!/bin/sh\n\'\'\'exec\' "{python}" "$0" "$@"', id="long-path"),
    ],
)
def test_a_script_of_another_python_is_passed_over(tmp_path: Path, first: str) -> None:
    other = environment(tmp_path / "other")
    script(other.parent, first.format(python=other))
    ours = script(tmp_path / "ours", f"#!{sys.executable}")
    assert find_program("vllm", f"{other.parent}{os.pathsep}{ours.parent}") == str(ours)
    with pytest.raises(MultinodeError, match=f"Start the launcher with {other}") as refused:
        find_program("vllm", str(other.parent))
    assert refused.value.code is ExitCode.ENGINE_VERSION


def test_env_python_is_the_one_beside_the_script(tmp_path: Path) -> None:
    other = environment(tmp_path / "other")
    script(other.parent, "#!/usr/bin/env python3")
    with pytest.raises(MultinodeError, match="belongs to"):
        find_program("vllm", str(other.parent))


def test_what_is_no_python_script_is_taken_as_a_shell_would(tmp_path: Path) -> None:
    first = script(tmp_path / "a", "#!/bin/sh")
    script(tmp_path / "b", f"#!{sys.executable}")
    assert find_program("vllm", f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}") == str(first)
    assert find_program("vllm", str(tmp_path)) is None
    assert find_program("/a/path/vllm", str(tmp_path)) == "/a/path/vllm"


def test_the_interpreters_own_folder_is_last() -> None:
    path = program_path({"PATH": "/usr/bin"})
    assert path.split(os.pathsep) == ["/usr/bin", str(Path(sys.executable).parent)]


def test_a_file_is_known_by_its_distribution(tmp_path: Path) -> None:
    pytest_program = Path(sys.executable).with_name("pytest")
    assert of_distribution(str(pytest_program), "no-such-distribution", "pytest")
    assert not of_distribution(str(script(tmp_path, "#!/bin/sh", "pytest")), "pytest")
