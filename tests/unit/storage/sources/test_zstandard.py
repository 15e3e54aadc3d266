"""Layers that are packed by zstandard, which is an optional package."""

import struct
import sys
from pathlib import Path

import pytest

from sources import registry
from sources.models import model, same
from unit.storage.conftest import Fetch, Serve
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.sources import layers

EMPTY = bytes.fromhex("28b52ffd2000010000")
"""A frame without content (RFC 8878)."""
SKIPPED = struct.pack("<II", 0x184D2A50, 4) + b"note"
BEGINNINGS = [pytest.param(b"", id="frame"), pytest.param(SKIPPED, id="skipped-frame")]


def in_frames(content: bytes, size: int) -> bytes:
    """Each part packed by itself, as builders do that let a layer be read in parts."""
    packer = pytest.importorskip("zstandard").ZstdCompressor()
    return b"".join(packer.compress(content[at : at + size]) for at in range(0, len(content), size))


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_without_the_package_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    blob = tmp_path / "blob"
    blob.write_bytes(beginning + EMPTY)
    with pytest.raises(MultinodeError, match="compressed with zstandard") as refused:
        layers.unpack(blob, tmp_path / "model", "oci://here/image:v1")
    assert refused.value.code is ExitCode.MODEL_MISSING
    assert "install the package zstandard" in refused.value.hint


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("size", [pytest.param(1 << 30, id="one-frame"), pytest.param(1500, id="frames")])
def test_with_it_a_layer_is_read_to_its_end(
    start: Serve, fetching: Fetch, size: int, beginning: bytes
) -> None:
    plain = registry.layer({f"models/{name}": content for name, content in model().items()})
    server = start(registry.registry(registry.image([beginning + in_frames(plain, size)])))
    fetching(f"oci://{server.host}/{registry.REPOSITORY}:{registry.TAG}")
    assert same(model(), fetching.model())


@pytest.mark.parametrize("length", [pytest.param(30, id="cut-in-a-frame"), pytest.param(4, id="no-frame")])
def test_a_broken_one_is_one_line(tmp_path: Path, length: int) -> None:
    whole = in_frames(registry.layer({"models/a": b"abc"}), 600)
    blob = tmp_path / "blob"
    blob.write_bytes(whole[:length] + b"x" * 300 * (length == 4))
    (tmp_path / "model").mkdir()
    with pytest.raises(MultinodeError, match="cannot be unpacked") as refused:
        layers.unpack(blob, tmp_path / "model", "oci://here/image:v1")
    assert "\n" not in str(refused.value)
