"""Layers upon layers, and those that would write elsewhere."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


def bytes_of_a_header(changed: list[int]) -> bytes:
    """A layer of one file with some of the bytes of its header turned over."""
    blob = bytearray(registry.layer({"models/a": b"abc"}))
    for place in changed:
        blob[place] ^= 0xFF
    blob[148:156] = b"%06o\0 " % (sum(blob[:148]) + sum(blob[156:512]) + 8 * 32)
    return bytes(blob)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A member's header alone, as long as it may say to be."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


BOMBS = [
    pytest.param(gzip.compress(header("models/a", 2 << 40)), ExitCode.MODEL_MISSING, id="file-of-terabytes"),
    pytest.param(gzip.compress(header("etc/a", 2 << 40)), ExitCode.MODEL_MISSING, id="beside-the-model"),
    pytest.param(header("x", 1 << 33, tarfile.XHDTYPE), ExitCode.MODEL_MISSING, id="pax"),
    pytest.param(header("x", 1 << 33, tarfile.XGLTYPE), ExitCode.MODEL_MISSING, id="pax-global"),
    pytest.param(header("x", 1 << 33, tarfile.GNUTYPE_LONGNAME), ExitCode.MODEL_MISSING, id="long-name"),
    pytest.param(
        b"".join(header("x", 512, tarfile.XHDTYPE) + bytes(512) for _ in range(3000)),
        ExitCode.MODEL_MISSING,
        id="pax-in-pax",
    ),
    pytest.param(header("models/a", -512), ExitCode.MODEL_MISSING, id="negative"),
    pytest.param(b"BZh9" + bytes(1000), ExitCode.MODEL_MISSING, id="bzip2-of-nothing"),
    pytest.param(b"\xfd7zXZ\x00" + bytes(1000), ExitCode.MODEL_MISSING, id="xz-of-nothing"),
    pytest.param(gzip.compress(header("models/a", 9) + bytes(4096))[:-60], ExitCode.MODEL_MISSING, id="cut"),
]


@pytest.mark.parametrize(("blob", "code"), BOMBS)
def test_a_layer_that_means_harm(tmp_path: Path, blob: bytes, code: ExitCode) -> None:
    (tmp_path / "blob").write_bytes(blob)
    (tmp_path / "model").mkdir()
    with pytest.raises(MultinodeError) as caught:
        layers.unpack(tmp_path / "blob", tmp_path / "model", "oci://here/image:v1")
    assert caught.value.code is code
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "model").iterdir()) == []


def test_a_file_that_is_larger_than_the_room_is_said_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blob").write_bytes(gzip.compress(header("models/a", 1 << 29) + bytes(1 << 20)))
    (tmp_path / "model").mkdir()
    room = os.statvfs(tmp_path)
    small = os.statvfs_result((*room[:3], 1000, 500, *room[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _: small)
    with pytest.raises(MultinodeError) as caught:
        layers.unpack(tmp_path / "blob", tmp_path / "model", "oci://here/image:v1")
    assert caught.value.code is ExitCode.CLAIM_FULL
    assert list((tmp_path / "model").iterdir()) == []


@given(st.binary(max_size=3000) | st.lists(st.integers(0, 511), max_size=40).map(bytes_of_a_header))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_a_layer_or_an_error_of_one_line(tmp_path: Path, blob: bytes) -> None:
    (tmp_path / "blob").write_bytes(blob)
    (tmp_path / "model").mkdir(exist_ok=True)
    try:
        layers.unpack(tmp_path / "blob", tmp_path / "model", "oci://here/image:v1")
    except MultinodeError as error:
        said = str(error)
    else:
        said = ""
    assert "\n" not in said


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        pytest.param({"a": b"1"}, {"a/b": b"2"}, {"a/b": b"2"}, id="file-becomes-folder"),
        pytest.param({"a/b": b"1", "a/c": b"2"}, {"a": b"3"}, {"a": b"3"}, id="folder-becomes-file"),
    ],
)
def test_an_upper_layer_may_turn_a_file_into_a_folder(
    start: Serve,
    fetching: Fetch,
    lower: dict[str, bytes],
    upper: dict[str, bytes],
    expected: dict[str, bytes],
) -> None:
    blobs = registry.layer(below({**model(), **lower})), registry.layer(below(upper))
    marker = fetching(put(start, fetching, *blobs))
    assert same({**model(), **expected}, fetching.model())
    assert marker.files.keys() == {*model(), *expected}


def test_a_map_of_a_sparse_file_without_an_end_is_not_read_into_memory(start: Serve, fetching: Fetch) -> None:
    header = bytearray(tarfile.TarInfo("models/model.safetensors").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[386:482] = b"00000000001\0" * 8
    header[482] = 1
    header[483:495] = b"00000001000\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    extension = b"00000000001\0" * 42 + b"\1" + bytes(7)
    blob = gzip.compress(bytes(header) + extension * 20_000)
    with pytest.raises(MultinodeError, match="a header of more than") as caught:
        fetching(put(start, fetching, blob))
    assert caught.value.code is ExitCode.MODEL_MISSING
