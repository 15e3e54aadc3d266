"""docs/reference.md names every exit code and every variable, with the default that the code has."""

import re
from pathlib import Path

import pytest

from vllm_multinode.contract import env
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.releases import RELEASES, Release

REFERENCE = (Path(__file__).parents[3] / "docs" / "reference.md").read_text()


@pytest.mark.parametrize("code", list(ExitCode), ids=lambda code: code.name)
def test_exit_code_is_listed(code: ExitCode) -> None:
    assert f"| {code.value} | {code.name} |" in REFERENCE


def test_no_other_exit_code_is_listed() -> None:
    listed = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", REFERENCE, re.MULTILINE)
    assert {int(number) for number, _ in listed} == {code.value for code in ExitCode}


@pytest.mark.parametrize("variable", sorted(env.OURS | env.KSERVE - {env.WORKER_SVC} | env.DOWNWARD))
def test_variable_is_listed(variable: str) -> None:
    assert f"`{variable}`" in REFERENCE


def test_no_other_variable_is_listed() -> None:
    listed = set(re.findall(r"`(MULTINODE_[A-Z_]+)`", REFERENCE))
    assert listed <= env.OURS | env.COMMAND_LINE


@pytest.mark.parametrize("releases", RELEASES.values(), ids=RELEASES)
def test_the_first_and_the_last_known_release_are_named(releases: tuple[Release, ...]) -> None:
    section = REFERENCE.partition("## Releases\n")[2].partition("\n## ")[0]
    assert all(one.number in section for one in (releases[0], releases[-1]))
