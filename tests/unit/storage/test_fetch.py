"""One run after another, and two at once, into one directory."""

import errno
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sources.models import SHARDS, model, same
from unit.storage.conftest import Fetch
from vllm_multinode.checkpoint.marker import LOCK, MARKER, WORK, Marker, now, read_marker, write_marker
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.claim import writing
from vllm_multinode.storage.lease import Lease
from vllm_multinode.storage.sources.directory import Directory
from vllm_multinode.storage.sources.source import Item
from vllm_multinode.storage.transfer import Transfer, _Content


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """Another claim, with a model in it."""
    return lay(tmp_path / "source", model())


def lay(directory: Path, files: dict[str, bytes]) -> Path:
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases beat as fast as a test wants."""
    monkeypatch.setattr("vllm_multinode.storage.fetch.Lease", partial(Lease, beat=0.01, stale=5))


def test_another_claim_is_copied(fetching: Fetch, claim: Path) -> None:
    marker = fetching(f"file://{claim}")
    assert same(model(), fetching.model())
    assert marker.state == "whole"


def test_a_copy_has_the_revision_and_checksums_of_what_it_is_copied_from(
    fetching: Fetch, claim: Path
) -> None:
    first = fetching(f"file://{claim}")
    second = Fetch(fetching.directory.parent / "second")
    copy = second(f"file://{fetching.directory}")
    assert copy.revision == first.revision
    assert same(model(), second.model())


def test_a_claim_that_is_not_whole_itself_is_not_copied(fetching: Fetch, claim: Path) -> None:
    write_marker(claim, Marker(state="fetching", source="hf://org/name", at=now()))
    with pytest.raises(MultinodeError, match="not complete") as caught:
        fetching(f"file://{claim}")
    assert caught.value.code is ExitCode.MODEL_MISSING


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"short")], ids=["lost", "cut"])
def test_a_file_that_was_lost_comes_again_and_only_that(
    fetching: Fetch, claim: Path, harm: Callable[[Path], object]
) -> None:
    fetching(f"file://{claim}")
    kept = (fetching.directory / SHARDS[0]).stat().st_ino
    harm(fetching.directory / SHARDS[1])
    fetching(f"file://{claim}")
    assert same(model(), fetching.model())
    assert (fetching.directory / SHARDS[0]).stat().st_ino == kept


def test_another_revision_replaces_files_and_takes_away_what_it_does_not_have(
    fetching: Fetch, claim: Path
) -> None:
    lay(claim, {"extra.txt": b"1", "nested/vocabulary.txt": b"2"})
    fetching(f"file://{claim}")
    (claim / "extra.txt").unlink()
    lay(claim, model(seed=7))
    # Nothing is asked where all is there; --refresh asks.
    fetching(f"file://{claim}")
    assert same({**model(), "extra.txt": b"1", "nested/vocabulary.txt": b"2"}, fetching.model())
    fetching(f"file://{claim}", refresh=True)
    assert same({**model(seed=7), "nested/vocabulary.txt": b"2"}, fetching.model())


def test_refresh_leaves_a_model_that_has_not_changed_alone(fetching: Fetch, claim: Path) -> None:
    first = fetching(f"file://{claim}")
    assert fetching(f"file://{claim}", refresh=True) == first


def test_refresh_takes_up_another_choice_of_files(fetching: Fetch, claim: Path) -> None:
    lay(claim, {"notes.txt": b"1"})
    fetching(f"file://{claim}")
    fetching(f"file://{claim}", refresh=True, exclude=("*.txt",))
    assert same(model(), fetching.model())


def test_weights_of_another_model_are_not_mixed_in(fetching: Fetch, claim: Path) -> None:
    lay(fetching.directory.parent, {})
    lay(fetching.directory, {"consolidated.safetensors": b"another model"})
    with pytest.raises(MultinodeError, match=r"not of this source: consolidated\.safetensors") as caught:
        fetching(f"file://{claim}")
    assert caught.value.code is ExitCode.USAGE
    assert (fetching.directory / "consolidated.safetensors").exists()


def test_what_is_no_model_is_said_with_the_codes_of_preflight(fetching: Fetch, claim: Path) -> None:
    (claim / "config.json").unlink()
    with pytest.raises(MultinodeError, match=r"no config\.json") as caught:
        fetching(f"file://{claim}")
    assert caught.value.code is ExitCode.MODEL_CONFIG
    assert read_marker(fetching.directory).state == "failed"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        pytest.param({"m-Q4_K_M.gguf": b"GGUF"}, "a GGUF (m-Q4_K_M.gguf)", id="gguf"),
        pytest.param(
            {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"}, "a LoRA adapter", id="lora"
        ),
    ],
)
def test_what_is_no_model_is_said_before_anything_comes(
    fetching: Fetch, tmp_path: Path, files: dict[str, bytes], words: str
) -> None:
    source = lay(tmp_path / "source", files)
    with pytest.raises(MultinodeError) as refused:
        fetching(f"file://{source}")
    assert refused.value.code is ExitCode.MODEL_CONFIG
    assert words in str(refused.value)
    assert not set(files) & {path.name for path in fetching.directory.rglob("*")}


def test_the_marker_goes_first_and_comes_last(
    fetching: Fetch, claim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching(f"file://{claim}")
    lay(claim, model(seed=7))
    states = []
    replace = Path.replace

    def watch(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            states.append(read_marker(fetching.directory).state)  # type: ignore[union-attr]
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    fetching(f"file://{claim}", refresh=True)
    assert set(states) == {"fetching"}
    assert read_marker(fetching.directory).state == "whole"  # type: ignore[union-attr]


def test_a_marker_that_cannot_be_read_is_written_anew(fetching: Fetch, claim: Path) -> None:
    fetching(f"file://{claim}")
    (fetching.directory / MARKER).write_text("{")
    assert fetching(f"file://{claim}").state == "whole"
    assert same(model(), fetching.model())


def test_a_claim_that_is_too_small_is_said_before_anything_comes(
    fetching: Fetch, claim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = os.statvfs(claim)
    small = os.statvfs_result((*room[:3], 1000, 500, *room[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _: small)
    with pytest.raises(MultinodeError, match="still missing") as caught:
        fetching(f"file://{claim}")
    assert caught.value.code is ExitCode.CLAIM_FULL
    assert fetching.model() == {}


def test_a_claim_that_fills_up_on_the_way(
    fetching: Fetch, claim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = _Content.add

    def full(self: Any, chunk: bytes) -> None:
        if self.length > 1 << 20:
            with writing(Path(SHARDS[0])):
                raise OSError(errno.ENOSPC, "No space left on device")
        add(self, chunk)

    monkeypatch.setattr(_Content, "add", full)
    monkeypatch.setattr("vllm_multinode.storage.sources.directory._CHUNK", 1 << 18)
    with pytest.raises(MultinodeError, match="claim is full") as caught:
        fetching(f"file://{claim}")
    assert caught.value.code is ExitCode.CLAIM_FULL
    assert read_marker(fetching.directory).state == "failed"  # type: ignore[union-attr]
    monkeypatch.setattr(_Content, "add", add)
    fetching(f"file://{claim}")
    assert same(model(), fetching.model())


@pytest.mark.parametrize("size", [100, 3_000_000], ids=["in-the-buffer", "past-the-buffer"])
def test_no_space_is_one_line_wherever_the_kernel_says_it(tmp_path: Path, claim: Path, size: int) -> None:
    (claim / "config.json").write_bytes(bytes(size))
    item = Item("config.json", size, None, "1")
    (tmp_path / "partial").symlink_to("/dev/full")
    transfer = Transfer(Directory(claim), lambda _: None, threading.Event())
    with pytest.raises(MultinodeError, match="claim is full") as caught:
        transfer.fetch(item, tmp_path / "config.json", tmp_path / "partial", None)
    assert caught.value.code is ExitCode.CLAIM_FULL


def test_a_claim_that_cannot_be_written(fetching: Fetch, claim: Path) -> None:
    lay(fetching.directory.parent, {"model": b"a file where the directory should be"})
    with pytest.raises(MultinodeError) as caught:
        fetching(f"file://{claim}")
    assert caught.value.code is ExitCode.NOT_WRITABLE


def test_two_jobs_at_once_fetch_it_once(
    fetching: Fetch, claim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    chunks = Directory._chunks

    def count(self: Any, item: Any, offset: int) -> Any:
        read.append(item.name)
        return chunks(self, item, offset)

    monkeypatch.setattr(Directory, "_chunks", count)
    quick(monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(fetching, f"file://{claim}", owner=owner) for owner in ("a", "b")]
        markers = [run.result(timeout=60) for run in runs]
    assert markers[0] == markers[1]
    assert sorted(read) == sorted(model())
    assert same(model(), fetching.model())


def test_who_is_dead_is_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / LOCK).write_text('{"owner": "pod-1", "id": "x", "beat": 3}')
    with Lease(tmp_path, "pod-2", threading.Event(), beat=0.01, stale=0.05) as lease:
        assert "pod-2" in (tmp_path / LOCK).read_text()
        lease.check()
    assert "pod-1 was inactive" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_who_lives_is_waited_for(tmp_path: Path) -> None:
    first = Lease(tmp_path, "pod-1", threading.Event(), beat=0.01, stale=5)
    entered = threading.Event()

    def second() -> None:
        with Lease(tmp_path, "pod-2", threading.Event(), beat=0.01, stale=5):
            entered.set()

    waiting = threading.Thread(target=second)
    with first:
        waiting.start()
        assert not entered.wait(0.2)
    assert entered.wait(10)
    waiting.join(10)


def test_who_was_taken_for_dead_stops(tmp_path: Path) -> None:
    stop = threading.Event()
    with Lease(tmp_path, "pod-1", stop, beat=0.01) as lease:
        (tmp_path / LOCK).unlink()
        (tmp_path / LOCK).write_text('{"owner": "pod-2", "id": "y", "beat": 0}')
        assert stop.wait(10)
        with pytest.raises(MultinodeError) as caught:
            lease.check()
    assert caught.value.code is ExitCode.CONFLICT
    # What belongs to the other stays.
    assert "pod-2" in (tmp_path / LOCK).read_text()


def test_a_fetch_that_lost_its_directory_writes_no_more(
    fetching: Fetch, claim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllm_multinode.storage.sources.directory._CHUNK", 1 << 12)
    quick(monkeypatch)
    taken = threading.Event()
    add = _Content.add

    def steal(self: Any, chunk: bytes) -> None:
        if not taken.is_set():
            taken.set()
            (fetching.directory / LOCK).unlink()
            (fetching.directory / LOCK).write_text('{"owner": "pod-2", "id": "y", "beat": 0}')
            threading.Event().wait(0.2)
        add(self, chunk)

    monkeypatch.setattr(_Content, "add", steal)
    with pytest.raises(MultinodeError) as caught:
        fetching(f"file://{claim}")
    assert caught.value.code is ExitCode.CONFLICT
    # The marker is the other's to write.
    assert read_marker(fetching.directory).state == "fetching"  # type: ignore[union-attr]
    shutil.rmtree(fetching.directory / WORK)
