"""The README files: five lines for a leaf, with the sizes of `multinode plan`; a row for every folder."""

import json
import re
import shlex
from pathlib import Path

import pytest

from manifests.folders import COMPONENTS, MANIFESTS, OVERLAYS, components, kustomizations, leaves, name
from vllm_multinode.cli.app import run

LABELS: tuple[str | tuple[str, ...], ...] = (
    "Hardware: ",
    "Size: ",
    ("Computed, not measured: ", "Measured: "),
    "Model: `hf://",
    "Check: `kubectl exec deployment/",
)
PLANNED = [leaf for leaf in leaves() if leaf.name != "tiny"]
SIZE = re.compile(
    r"- Size: (?:3 groups of )?(?P<nodes>\d+) nodes, "
    r"TP (?P<tensor_parallel>\d+), PP (?P<pipeline_parallel>\d+); "
    r"(?P<context>\d+) tokens of context, "
    r"(?P<max_concurrency>\d+) concurrent requests of this length(?: in each)?; "
    r"a claim of (?P<claim_gib>\d+) GiB"
)


@pytest.mark.parametrize("leaf", leaves(), ids=name)
def test_five_lines(leaf: Path) -> None:
    title, *lines = (leaf / "README.md").read_text().split("\n- ")
    assert title.startswith("# ")
    assert len(lines) == len(LABELS)
    for line, label in zip(lines, LABELS, strict=True):
        assert line.startswith(label)


@pytest.mark.parametrize("leaf", PLANNED, ids=name)
def test_the_sizes_are_the_plan_s(leaf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (leaf / "README.md").read_text()
    (command,) = re.findall(r"`multinode (plan [^`]+)`", text)
    assert run([*shlex.split(command), "--output", "json"]) == 0
    made = json.loads(capsys.readouterr().out)
    found = SIZE.search(text)
    assert found
    assert {key: int(value) for key, value in found.groupdict().items()} == {
        key: made[key] for key in found.groupdict()
    }
    assert f"--max-model-len={made['context']}" in _arguments(leaf)


def _arguments(leaf: Path) -> str:
    return "".join(path.read_text() for path in leaf.rglob("kustomization.yaml"))


@pytest.mark.parametrize("folder", [MANIFESTS, OVERLAYS, MANIFESTS / "operators"], ids=name)
def test_a_readme_fits_on_a_page_and_names_every_folder(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    assert len(text.splitlines()) <= 60
    for inner in kustomizations():
        if inner.parent == folder:
            assert f"`{inner.name}" in text or f"/{inner.name}`" in text, inner.name


def test_the_readme_names_every_component() -> None:
    text = (MANIFESTS / "README.md").read_text()
    assert [one.name for one in components() if f"`{one.name}`" not in text] == []
    assert COMPONENTS.is_dir()


def test_every_step_of_the_operators_says_how_to_wait() -> None:
    rows = [
        line
        for line in (MANIFESTS / "operators/README.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    steps = [inner.name for inner in kustomizations() if inner.parent.name == "operators"]
    assert steps == sorted(steps)
    for step in steps:
        (row,) = [row for row in rows if f"`{step}`" in row.split("|")[1]]
        assert "oc wait" in row or "oc rollout status" in row or row.endswith("| at once |")
