"""Incidents are counted by cause, and kept over a restart of the same pod."""

import json
from pathlib import Path

import pytest

from vllm_multinode.launcher.history import Incidents, file_of
from vllm_multinode.launcher.recovery import Cause, Incident


def test_they_survive_a_restart_of_the_same_pod(tmp_path: Path) -> None:
    file = file_of({"MULTINODE_SCRATCH": str(tmp_path)})
    first = Incidents.kept_in(file, "llm-0")
    first.add(10.0, Incident(Cause.MEMBER, "lost llm-1"), "llm-0")
    first.add(20.0, Incident(Cause.HUNG, "hung: 3 requests"), "llm-0")
    again = Incidents.kept_in(file, "llm-0")
    assert again.described() == first.described()
    assert again.by_cause == {cause.value: int(cause in (Cause.MEMBER, Cause.HUNG)) for cause in Cause}
    assert Incidents.kept_in(file, "llm-other").described()["incidents"] == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="half"),
        pytest.param("[]", id="list"),
        pytest.param(json.dumps({"pod": "p", "incidents": [{"at": "x"}]}), id="no-incident"),
        pytest.param(json.dumps({"pod": "p", "incidents": 7}), id="number"),
    ],
)
def test_a_file_of_somebody_else_is_nobodys(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    found = Incidents.kept_in(file, "p")
    assert found.described()["incidents"] == []
    found.add(1.0, Incident(Cause.ENGINE, "vllm died"), "p")
    assert json.loads(file.read_text())["incidents"][0]["reason"] == "vllm died"


def test_a_folder_that_cannot_be_written_costs_the_file_alone(tmp_path: Path) -> None:
    found = Incidents.kept_in(tmp_path / "missing" / "x.json", "p")
    found.add(1.0, Incident(Cause.ENGINE, "vllm died"), "p")
    assert found.by_cause["engine"] == 1


def test_only_the_latest_are_kept(tmp_path: Path) -> None:
    found = Incidents.kept_in(tmp_path / "x.json", "p")
    for number in range(60):
        found.add(float(number), Incident(Cause.MEMBER, f"{number}"), "p")
    assert Incidents.kept_in(tmp_path / "x.json", "p").latest[0].reason == "10"
    assert found.by_cause["member"] == 60
