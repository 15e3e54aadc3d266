"""What a marker of `multinode fetch` lets preflight say."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sources.models import SHARDS, model
from vllm_multinode.checkpoint.marker import MARKER, MarkedFile, Marker, State, write_marker
from vllm_multinode.checkpoint.model_directory import read_model
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

AT = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)


def lay(directory: Path, state: State, **given: object) -> Path:
    for name, content in model(1000).items():
        (directory / name).write_bytes(content)
    files = {name: MarkedFile(size=len(content)) for name, content in model(1000).items()}
    marker = Marker(state=state, source="hf://org/name", revision="abc", files=files, at=AT)
    write_marker(directory, marker.model_copy(update=given))
    return directory


def test_a_whole_one_names_its_source(tmp_path: Path) -> None:
    assert read_model(lay(tmp_path, "whole")).source == "hf://org/name at abc"


def test_the_marker_is_no_part_of_the_fingerprint(tmp_path: Path) -> None:
    fetched = read_model(lay(tmp_path, "whole"))
    (tmp_path / MARKER).unlink()
    copied = read_model(tmp_path)
    assert copied.fingerprint == fetched.fingerprint
    assert copied.source == ""


@pytest.mark.parametrize(
    ("state", "given", "said"),
    [
        pytest.param(
            "fetching",
            {"owner": "fetch-x"},
            "is not finished (started 2026-11-21 12:30 UTC by fetch-x, 4 of 5 files are here).",
            id="fetching",
        ),
        pytest.param(
            "failed",
            {"reason": "the claim is full."},
            "failed (2026-11-21 12:30 UTC, 4 of 5 files are here): the claim is full.",
            id="failed",
        ),
        pytest.param(
            "fetching", {"files": {}}, "is not finished (started 2026-11-21 12:30 UTC).", id="layers"
        ),
    ],
)
def test_one_that_is_not_finished(tmp_path: Path, state: State, given: dict[str, object], said: str) -> None:
    lay(tmp_path, state, **given)
    (tmp_path / SHARDS[0]).unlink()
    with pytest.raises(MultinodeError) as caught:
        read_model(tmp_path)
    assert caught.value.code is ExitCode.MODEL_MISSING
    assert caught.value.what == f"the download of hf://org/name {said}"


def test_weights_that_are_not_those_that_were_fetched(tmp_path: Path) -> None:
    lay(tmp_path, "whole")
    (tmp_path / SHARDS[1]).write_bytes(model(1003)[SHARDS[1]])
    with pytest.raises(MultinodeError, match="has 1100 bytes and was fetched with 1097") as caught:
        read_model(tmp_path)
    assert caught.value.code is ExitCode.MODEL_MISSING
    assert caught.value.where == str(tmp_path / SHARDS[1])


def test_small_files_may_have_been_changed_on_purpose(tmp_path: Path) -> None:
    lay(tmp_path, "whole")
    (tmp_path / "tokenizer.json").write_text('{"chat": "template"}')
    assert read_model(tmp_path).source


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("{", "is not a marker", id="no-json"),
        pytest.param("[]", "is not a marker", id="no-object"),
        pytest.param('{"state": "done"}', "is not a marker of `fetch`: state", id="another-state"),
    ],
)
def test_a_marker_that_cannot_be_read(tmp_path: Path, content: str, said: str) -> None:
    lay(tmp_path, "whole")
    (tmp_path / MARKER).write_text(content)
    with pytest.raises(MultinodeError, match=said) as caught:
        read_model(tmp_path)
    assert caught.value.code is ExitCode.MODEL_MISSING


def test_what_a_later_version_adds_is_passed_over(tmp_path: Path) -> None:
    lay(tmp_path, "whole")
    path = tmp_path / MARKER
    path.write_text(path.read_text().replace("{", '{"added": {"later": 1},', 1))
    assert read_model(tmp_path).source
