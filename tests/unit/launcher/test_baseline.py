"""What a pod's first supervisor finds is foreign; what its successors find besides, an engine has left."""

import json
import os
import socket
from pathlib import Path

import pytest

from vllm_multinode.launcher.baseline import Baseline, baseline
from vllm_multinode.launcher.kept import kept_file, read_kept, write_kept
from vllm_multinode.launcher.leftovers import clean_leftovers
from vllm_multinode.launcher.shared_memory import clean_shared_memory


class Volumes:
    """A pod's /dev/shm and /tmp."""

    def __init__(self, folder: Path) -> None:
        self.shared, self.temporary = folder / "s", folder / "t"
        self.shared.mkdir()
        self.temporary.mkdir()
        self.environment = {"TMPDIR": str(self.temporary)}
        self.record = kept_file(self.environment, "baseline")

    def start(self, pod: str = "llm-0", *, alone: bool = True) -> Baseline:
        """What a container's first process takes for foreign."""
        return baseline(self.environment, pod, alone=alone, shared=self.shared)

    def leave(self, name: str) -> None:
        """A segment and a dead socket of that name."""
        (self.shared / name).write_text("")
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(str(self.temporary / name))

    def clean(self, known: Baseline) -> None:
        """As a supervisor does after preflight, and after each engine."""
        clean_shared_memory(known.shared_memory, self.shared)
        clean_leftovers(known.temporary, [self.temporary])

    @property
    def names(self) -> set[str]:
        """What lies in both; the record aside."""
        files = {*self.shared.iterdir(), *self.temporary.iterdir()} - {self.record}
        return {path.name for path in files}


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Volumes:
    """Entered, because a socket's path may have a hundred characters only."""
    monkeypatch.chdir(tmp_path)
    return Volumes(Path())


def test_a_successor_removes_what_a_killed_container_left_and_spares_what_was_there(volumes: Volumes) -> None:
    volumes.leave("foreign")
    volumes.start()
    volumes.leave("first")
    volumes.start()
    volumes.leave("second")
    volumes.clean(volumes.start())
    assert volumes.names == {"foreign"}


def test_a_pod_that_was_empty_has_nothing_foreign(volumes: Volumes) -> None:
    volumes.start()
    volumes.leave("first")
    volumes.clean(volumes.start())
    assert volumes.names == set()


def test_another_pod_believes_no_record(volumes: Volumes) -> None:
    volumes.start("llm-0")
    volumes.leave("of llm-0")
    volumes.clean(volumes.start("llm-1"))
    assert volumes.names == {"of llm-0"}
    assert read_kept(volumes.record)["pod"] == "llm-1"


@pytest.mark.parametrize("what", ["boot", "network"])
def test_a_pod_of_the_same_name_on_another_boot_or_network_believes_no_record(
    volumes: Volumes, what: str
) -> None:
    volumes.start()
    volumes.leave("of another")
    write_kept(volumes.record, read_kept(volumes.record) | {what: "another"})
    volumes.clean(volumes.start())
    assert volumes.names == {"of another"}


def test_a_supervisor_that_shares_its_processes_neither_writes_nor_believes(volumes: Volumes) -> None:
    volumes.start(alone=False)
    assert not volumes.record.exists()
    volumes.start()
    volumes.leave("a program of the same user's")
    volumes.clean(volumes.start(alone=False))
    assert volumes.names == {"a program of the same user's"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="half"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param("[]", id="list"),
        pytest.param('{"shared_memory": 7, "temporary": []}', id="number"),
        pytest.param('{"shared_memory": [], "temporary": null}', id="null"),
    ],
)
def test_a_record_that_is_no_record_is_written_again(volumes: Volumes, text: str) -> None:
    volumes.start()
    identity = {name: read_kept(volumes.record)[name] for name in ("pod", "boot", "network")}
    volumes.leave("foreign")
    if text.startswith("{") and text.endswith("}"):
        text = json.dumps(identity | json.loads(text))
    volumes.record.write_text(text)
    volumes.clean(volumes.start())
    assert volumes.names == {"foreign"}
    assert read_kept(volumes.record)["shared_memory"] == ["foreign"]


def test_a_link_or_a_pipe_in_its_place_is_not_followed(volumes: Volumes) -> None:
    volumes.start()
    moved = volumes.record.rename(volumes.record.with_suffix(".moved"))
    volumes.record.symlink_to(moved.name)
    assert read_kept(volumes.record) is None
    volumes.record.unlink()
    os.mkfifo(volumes.record)
    assert read_kept(volumes.record) is None


def test_a_volume_that_is_full_costs_the_record_alone(volumes: Volumes) -> None:
    volumes.environment["MULTINODE_SCRATCH"] = "absent"
    volumes.leave("foreign")
    known = volumes.start()
    volumes.clean(known)
    assert volumes.names == {"foreign"}


def test_only_the_first_process_of_a_namespace_is_alone(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline(volumes.environment, "llm-0", shared=volumes.shared)
    assert not volumes.record.exists()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    baseline(volumes.environment, "llm-0", shared=volumes.shared)
    assert volumes.record.exists()
