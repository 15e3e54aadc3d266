"""The generated pages of the reference are what the code says, and name all of it."""

from pathlib import Path
from types import ModuleType

import pytest

from generators import causes, exit_codes, rules, runbook, variables
from vllm_multinode.authoring.rules import RULES
from vllm_multinode.cluster.causes import CAUSES
from vllm_multinode.contract import env
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.settings import read_settings
from vllm_multinode.platforms.releases import RELEASES, Release

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    "generator", [causes, exit_codes, rules, runbook, variables], ids=lambda one: one.__name__
)
def test_page_is_generated(generator: ModuleType) -> None:
    for path, text in generator.files().items():
        assert path.read_text(encoding="utf-8") == text, f"run scripts/generate {path.stem}"


def test_every_rule_has_a_row() -> None:
    page = (DOCS / "rules.md").read_text(encoding="utf-8").splitlines()
    for rule in RULES:
        assert sum(line.startswith(f'| <a id="{rule.id}"></a>`{rule.id}` |') for line in page) == 1


def test_every_cause_has_a_section() -> None:
    page = (DOCS / "causes.md").read_text(encoding="utf-8").splitlines()
    assert all(page.count(f"### {cause}") == 1 for cause in CAUSES)


def test_every_cause_and_exit_code_is_in_the_runbook() -> None:
    page = (DOCS / "runbook/index.md").read_text(encoding="utf-8")
    assert all(f"(../causes.md#{cause})" in page for cause in CAUSES)
    assert all(f"(../exit-codes.md#{code.value})" in page for code in ExitCode)
    assert all((DOCS / f"runbook/{name}.md").is_file() for name in runbook.SYMPTOMS)


def test_every_exit_code_has_one_row() -> None:
    page = (DOCS / "exit-codes.md").read_text(encoding="utf-8")
    for code in ExitCode:
        assert page.count(f'| <a id="{code.value}"></a>{code.value} | {code.name} |') == 1


@pytest.mark.parametrize("variable", sorted(env.OURS | env.KSERVE - {env.WORKER_SVC} | env.DOWNWARD))
def test_variable_is_listed(variable: str) -> None:
    assert f"`{variable}`" in (DOCS / "variables.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param(env.HEARTBEAT_TIMEOUT, "7", id="seconds"),
        pytest.param(env.RAY_WORKER_PORTS, "30000-30999", id="range"),
        pytest.param(env.EXECUTOR, "ray", id="choice"),
        pytest.param(env.RECOVERY_ATTEMPTS, "7", id="attempts"),
        pytest.param(env.READ_AHEAD, "false", id="switch"),
        pytest.param(env.SCRATCH, "/scratch", id="path"),
    ],
)
def test_a_default_is_that_variables_own(variable: str, value: str) -> None:
    sizes = {env.TENSOR_PARALLEL_SIZE: "1", env.PIPELINE_PARALLEL_SIZE: "2"}
    settings = read_settings("head", {**sizes, variable: value}, (), "pod")
    usual, changed = (
        {name: variables.default(given, each) for name, (given, _) in variables.OWN.items()}
        for each in (read_settings("head", sizes, (), "pod"), settings)
    )
    differing = {name for name in usual if usual[name] != changed[name]}
    assert differing == {variable}
    assert changed[variable] == value


@pytest.mark.parametrize("releases", RELEASES.values(), ids=RELEASES)
def test_the_first_and_the_last_known_release_are_named(releases: tuple[Release, ...]) -> None:
    section = (DOCS / "reference.md").read_text().partition("## Releases\n")[2].partition("\n## ")[0]
    assert all(release.number in section for release in (releases[0], releases[-1]))
