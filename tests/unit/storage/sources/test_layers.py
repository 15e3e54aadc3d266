"""Layers upon layers, and those that would write elsewhere."""

import io
import tarfile
from pathlib import Path

import pytest

from sources import registry
from sources.models import SHARDS, model, same
from unit.storage.conftest import Fetch, Serve
from vllm_multinode.checkpoint.marker import WORK
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.sources import layers


def below(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"models/{name}": content for name, content in files.items()}


def put(start: Serve, fetching: Fetch, *blobs: bytes) -> str:
    server = start(registry.registry(registry.image(blobs)))
    return f"oci://{server.host}/{registry.REPOSITORY}:{registry.TAG}"


def test_upper_layers_replace_and_remove(start: Serve, fetching: Fetch) -> None:
    files = model()
    lower = registry.layer(below({**files, "old.txt": b"1", "folder/a": b"2", "folder/b": b"3"}), packed=True)
    upper = registry.layer(
        {
            "./models/.wh.old.txt": b"",
            "models/folder/c": b"4",
            "/models/folder/.wh..wh..opq": b"",
            "models/tokenizer.json": b'{"new": 1}',
            "usr/bin/sh": b"#!",
        }
    )
    marker = fetching(put(start, fetching, lower, upper))
    expected = {**files, "folder/c": b"4", "tokenizer.json": b'{"new": 1}'}
    assert same(expected, fetching.model())
    assert marker.files.keys() == expected.keys()


def test_another_image_leaves_nothing_of_the_first(start: Serve, fetching: Fetch) -> None:
    first = put(start, fetching, registry.layer(below({**model(), "extra.txt": b"1"})))
    fetching(first)
    second = put(start, fetching, registry.layer(below(model(seed=3))))
    fetching(second)
    assert same(model(seed=3), fetching.model())


def test_layers_that_were_unpacked_are_not_fetched_again(start: Serve, fetching: Fetch) -> None:
    files = model()
    blobs = [
        registry.layer(below({name: content for name, content in files.items() if name != SHARDS[1]})),
        registry.layer(below({SHARDS[1]: files[SHARDS[1]]})),
    ]
    server = start(registry.registry(registry.image(blobs)))
    last = f"/v2/{registry.REPOSITORY}/blobs/{registry._digest(blobs[1])}"
    server.cut[last] = [0] * 20
    address = f"oci://{server.host}/{registry.REPOSITORY}:{registry.TAG}"
    with pytest.raises(MultinodeError):
        fetching(address)
    assert [path.suffix for path in (fetching.directory / WORK).iterdir()].count(".json") == 1
    server.cut.clear()
    server.asked.clear()
    fetching(address)
    assert same(files, fetching.model())
    assert not server.reads(registry._digest(blobs[0]))


def test_an_image_without_a_model(start: Serve, fetching: Fetch) -> None:
    with pytest.raises(MultinodeError, match="no file below /models") as caught:
        fetching(put(start, fetching, registry.layer({"etc/passwd": b"x"})))
    assert caught.value.code is ExitCode.MODEL_MISSING


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        pytest.param("models/model.safetensors", tarfile.SYMTYPE, "/etc/passwd", id="link-outside"),
        pytest.param("models/model.safetensors", tarfile.LNKTYPE, "../../etc/passwd", id="hard-link-outside"),
        pytest.param("models/pipe", tarfile.FIFOTYPE, "", id="pipe"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path: Path, name: str, kind: bytes, link: str) -> None:
    blob = tmp_path / "blob"
    with tarfile.open(blob, "w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        archive.addfile(member)
    (tmp_path / "model").mkdir()
    with pytest.raises(MultinodeError) as caught:
        layers.unpack(blob, tmp_path / "model", "oci://here/image:v1")
    assert caught.value.code is ExitCode.MODEL_MISSING
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["models/../../outside", "models/.wh...", "models/a/.wh..wh..opq", "models/.git/x"]
)
def test_names_that_lead_elsewhere_do_nothing(tmp_path: Path, name: str) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(registry.layer({name: b"x"}))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "kept").write_text("kept")
    assert layers.unpack(blob, tmp_path / "model", "oci://here/image:v1") == {}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["blob", "kept", "model"]


def test_a_hard_link_inside(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    with tarfile.open(blob, "w") as archive:
        first = tarfile.TarInfo("models/a")
        first.size = 3
        archive.addfile(first, io.BytesIO(b"abc"))
        second = tarfile.TarInfo("models/b")
        second.type, second.linkname = tarfile.LNKTYPE, "models/a"
        archive.addfile(second)
    (tmp_path / "model").mkdir()
    layers.unpack(blob, tmp_path / "model", "oci://here/image:v1")
    assert (tmp_path / "model" / "b").read_bytes() == b"abc"


def test_a_blob_that_is_no_layer(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"no tar" * 1000)
    with pytest.raises(MultinodeError, match="cannot be unpacked"):
        layers.unpack(tmp_path / "blob", tmp_path, "oci://here/image:v1")
