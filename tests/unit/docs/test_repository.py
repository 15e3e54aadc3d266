"""What stands around the package: README, CI files and lock, as far as no host is needed to check them."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from generators.addresses import files as addressed
from generators.addresses import repository

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_the_readme_has_a_hundred_lines_at_most() -> None:
    assert len(README.splitlines()) <= 100


@pytest.mark.parametrize("target", sorted(set(_LINK.findall(README))))
def test_a_link_of_the_readme_reads_everywhere(target: str) -> None:
    assert target.startswith(f"{repository()}/blob/main/")
    assert (ROOT / target.removeprefix(f"{repository()}/blob/main/").partition("#")[0]).is_file()


def test_the_address_is_the_same_everywhere() -> None:
    for path, text in addressed().items():
        assert path.read_text(encoding="utf-8") == text, "run scripts/generate addresses"
        assert repository() in (text or "")


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        pytest.param("github-workflows", ".github/workflows/*.yml", id="workflows"),
        pytest.param("github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml", id="issue-forms"),
        pytest.param("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml", id="issue-config"),
        pytest.param("dependabot", ".github/dependabot.yml", id="dependabot"),
    ],
)
def test_a_file_for_github_has_its_schema(schema: str, pattern: str) -> None:
    paths = sorted(ROOT.glob(pattern))
    assert paths
    checked = subprocess.run(
        [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", f"vendor.{schema}", *paths],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "path",
    [*sorted(ROOT.glob(".github/workflows/*.yml")), *sorted(ROOT.glob(".tekton/*.yaml"))],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_ci_calls_the_scripts_that_everybody_calls(path: Path) -> None:
    called = re.findall(r"\bscripts/[a-z-]+", path.read_text(encoding="utf-8"))
    assert called
    assert all((ROOT / script).is_file() for script in called)


def test_tekton_hands_on_every_parameter_that_a_task_declares() -> None:
    for path in sorted(ROOT.glob(".tekton/*.yaml")):
        run = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert (run["apiVersion"], run["kind"]) == ("tekton.dev/v1", "PipelineRun")
        pipeline = run["spec"]["pipelineSpec"]
        assert {each["name"] for each in pipeline["params"]} == {
            each["name"] for each in run["spec"]["params"]
        }
        for task in pipeline["tasks"]:
            declared = {each["name"] for each in task["taskSpec"]["params"]}
            assert declared == {each["name"] for each in task["params"]}
            used = set(re.findall(r"\$\(params\.([a-z]+)\)", yaml.safe_dump(task["taskSpec"])))
            assert used <= declared
            volumes = {each["name"] for each in task["taskSpec"]["volumes"]}
            assert {each["name"] for each in task["taskSpec"]["stepTemplate"]["volumeMounts"]} <= volumes


def _locked() -> dict[str, list[Version]]:
    found: dict[str, list[Version]] = {}
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE
    ):
        found.setdefault(canonicalize_name(name), []).append(Version(version))
    return found


def _required(extra: str) -> list[Requirement]:
    """What an extra asks for, with what the package itself asks for and the extras that it names."""
    required = []
    for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]]:
        requirement = Requirement(text)
        if requirement.name == PROJECT["name"]:
            required += [each for name in sorted(requirement.extras) for each in _required(name)]
        else:
            required.append(requirement)
    return required


def test_the_lock_holds_what_development_asks_for() -> None:
    locked = _locked()
    for requirement in _required("dev"):
        if requirement.marker is None or requirement.marker.evaluate():
            versions = locked.get(canonicalize_name(requirement.name), [])
            fitting = [version for version in versions if version in requirement.specifier]
            assert fitting, f"{requirement}: run scripts/lock"


def test_the_lock_names_no_index() -> None:
    assert "://" not in (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")


def test_the_changelog_speaks_of_this_version() -> None:
    assert f"\n## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
