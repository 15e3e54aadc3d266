"""What a plan reads of a model at a hub: sizes and a header, never a weight; no secret is said."""

import json
import struct
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from sources import hub
from sources.servers import Answer, Asked, Server
from unit.sizing.models import small
from unit.storage.conftest import Serve
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.hub_model import read_hub_model

ADDRESS = f"hf://{hub.REPOSITORY}"
CONFIG = {"config.json": json.dumps(small()).encode()}
INDEX = "model.safetensors.index.json"


def safetensors(tensors: Mapping[str, tuple[int, ...]], *, padding: int = 0) -> bytes:
    """A file of BF16 tensors of these shapes; the padding makes its header longer."""
    entries: dict[str, object] = {"__metadata__": {"padding": "x" * padding}}
    end = 0
    for name, shape in tensors.items():
        size = 2
        for side in shape:
            size *= side
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + bytes(end)


def sharded(*absent: str) -> dict[str, bytes]:
    """A model of two files with an index, and a third file that the index does not name."""
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    index = json.dumps({"weight_map": {f"layer.{name}": name for name in names}}).encode()
    files = {name: bytes(3_000) for name in names if name not in absent}
    return {**CONFIG, INDEX: index, **files, "extra.safetensors": bytes(50)}


def test_a_single_file_is_known_by_its_header_and_nothing_else_is_read(start: Serve) -> None:
    content = safetensors({"model.embed_tokens.weight": (32000, 64)})
    store = start(hub.store({"model.safetensors": content}))
    asked = start(hub.hub({**CONFIG, "model.safetensors": content}, gated=True, store=store))
    found = read_hub_model(ADDRESS, {"HF_ENDPOINT": asked.url, "HF_TOKEN": hub.TOKEN})
    assert [(one.name, one.shape) for one in found.tensors] == [("model.embed_tokens.weight", (32000, 64))]
    assert (found.commit, found.weight_bytes, found.notes) == (hub.COMMIT, len(content), ())
    assert store.reads("/model.safetensors") == ["bytes=0-65535"]


def test_a_header_longer_than_the_first_request_is_asked_for_again(start: Serve) -> None:
    content = safetensors({"norm": (8,)}, padding=200_000)
    asked = start(hub.hub({**CONFIG, "model.safetensors": content}))
    found = read_hub_model(ADDRESS, {"HF_ENDPOINT": asked.url})
    assert [one.name for one in found.tensors] == ["norm"]
    assert len(asked.reads("/model.safetensors")) == 2


def test_a_server_without_ranges_is_not_read_to_the_end(start: Serve) -> None:
    content = safetensors({"norm": (40_000_000,)})
    server = hub.hub({**CONFIG, "model.safetensors": content})
    server.ranges = False
    found = read_hub_model(ADDRESS, {"HF_ENDPOINT": start(server).url})
    assert [one.bytes for one in found.tensors] == [80_000_000]


def test_of_many_files_only_the_sizes_are_taken(start: Serve) -> None:
    asked = start(hub.hub(sharded()))
    found = read_hub_model(ADDRESS, {"HF_ENDPOINT": asked.url})
    assert (found.tensors, found.weight_bytes, found.notes) == ((), 6_000, ())
    assert not any(one.path.endswith(".safetensors") for one in asked.asked)


def test_a_file_that_the_index_names_and_the_hub_lacks_is_named(start: Serve) -> None:
    asked = start(hub.hub(sharded("model-00002-of-00002.safetensors")))
    found = read_hub_model(ADDRESS, {"HF_ENDPOINT": asked.url})
    assert found.weight_bytes == 3_000
    assert "model-00002-of-00002.safetensors" in found.notes[0]


def test_the_quantisation_of_modelopts_own_file_is_read(start: Serve) -> None:
    own = {"quantization": {"quant_algo": "NVFP4", "group_size": 16, "exclude_modules": ["lm_head"]}}
    asked = start(hub.hub({**CONFIG, "hf_quant_config.json": json.dumps(own).encode()}))
    found = read_hub_model(ADDRESS, {"HF_ENDPOINT": asked.url})
    assert found.config["quantization_config"] == own


@pytest.mark.parametrize("way", ["variable", "path", "login", "cache"])
def test_a_token_is_found_where_the_hubs_own_tools_look(way: str, start: Serve, tmp_path: Path) -> None:
    places = {"path": "token", "login": "token", "cache": "huggingface/token"}
    environment = {
        "variable": {"HF_TOKEN": hub.TOKEN},
        "path": {"HF_TOKEN_PATH": str(tmp_path / "token")},
        "login": {"HF_HOME": str(tmp_path)},
        "cache": {"XDG_CACHE_HOME": str(tmp_path)},
    }[way]
    if way in places:
        path = tmp_path / places[way]
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{hub.TOKEN}\n")
    asked = start(hub.hub(CONFIG, gated=True))
    assert read_hub_model(ADDRESS, {"HF_ENDPOINT": asked.url, **environment}).commit == hub.COMMIT


def test_no_login_is_no_token(start: Serve, tmp_path: Path) -> None:
    asked = start(hub.hub(CONFIG))
    read_hub_model(ADDRESS, {"HF_ENDPOINT": asked.url, "HOME": str(tmp_path)})
    assert all("authorization" not in one.headers for one in asked.asked)


def always(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Server:
    """A server that gives one answer to everything."""
    return Server(lambda asked: Answer(status, headers or {}, body))


def then(answer: Answer) -> Server:
    """A hub whose files are all one answer."""
    listed = hub.hub(CONFIG)

    def handle(asked: Asked) -> Answer:
        return listed.handle(asked) if asked.path.startswith("/api/") else answer

    return Server(handle)


HTML = {"Content-Type": "text/html"}
PAGE = b"<html>Sign in to the guest network</html>"
CONFUSED = ExitCode.MODEL_CONFIG
DENIED, MISSING, UNREACHABLE = ExitCode.SOURCE_DENIED, ExitCode.MODEL_MISSING, ExitCode.SOURCE_UNREACHABLE


@pytest.mark.parametrize(
    ("server", "code", "says"),
    [
        pytest.param(always(401), DENIED, "Give a token by HF_TOKEN", id="401"),
        pytest.param(always(401, {"X-Error-Code": "GatedRepo"}), DENIED, "its licence", id="gated-401"),
        pytest.param(always(403, {"X-Error-Code": "GatedRepo"}), DENIED, "is gated (403)", id="gated-403"),
        pytest.param(always(404), MISSING, "Check the name", id="404"),
        pytest.param(always(404, {"X-Error-Code": "RevisionNotFound"}), MISSING, "revision", id="revision"),
        pytest.param(always(429), UNREACHABLE, "Try again", id="429"),
        pytest.param(always(500), UNREACHABLE, "Try again", id="500"),
        pytest.param(always(200, HTML, PAGE), UNREACHABLE, "Check HF_ENDPOINT", id="html-for-the-list"),
        pytest.param(always(200, {}, b'{"sha": 1}'), UNREACHABLE, "HF_ENDPOINT", id="another-api"),
        pytest.param(always(302, {"Location": "/"}), UNREACHABLE, "redirects", id="redirect-loop"),
        pytest.param(then(Answer(404)), MISSING, "404", id="the-file-is-gone"),
        pytest.param(then(Answer(200, HTML, PAGE)), CONFUSED, "is not JSON", id="html-for-a-file"),
        pytest.param(then(Answer(body=b"[1]")), CONFUSED, "not a JSON object", id="a-list"),
        pytest.param(hub.hub({"x.gguf": b"x"}), CONFUSED, "GGUF", id="gguf"),
        pytest.param(hub.hub({"adapter_config.json": b"{}"}), CONFUSED, "made for", id="adapter"),
        pytest.param(hub.hub({}), MISSING, "no config.json", id="nothing"),
    ],
)
def test_a_refusal_is_one_line_with_the_next_step(
    server: Server, code: ExitCode, says: str, start: Serve
) -> None:
    with pytest.raises(MultinodeError) as refusal:
        read_hub_model(ADDRESS, {"HF_ENDPOINT": start(server).url})
    assert refusal.value.code is code, refusal.value
    assert says in str(refusal.value)
    assert ADDRESS in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_refused_token_is_not_asked_for_once_more(start: Serve) -> None:
    with pytest.raises(MultinodeError, match="rejects the token") as refusal:
        read_hub_model(ADDRESS, {"HF_ENDPOINT": start(always(401)).url, "HF_TOKEN": hub.TOKEN})
    assert hub.TOKEN not in str(refusal.value)


@pytest.mark.parametrize(
    ("address", "endpoint", "code"),
    [
        pytest.param("hf://org", "http://127.0.0.1:9", ExitCode.USAGE, id="no-name"),
        pytest.param("hf://user:secret@org/name", "http://127.0.0.1:9", ExitCode.USAGE, id="a-user"),
        pytest.param(ADDRESS, "127.0.0.1:9/secret", ExitCode.VARIABLE, id="no-scheme"),
        pytest.param(ADDRESS, "http://127.0.0.1:9", ExitCode.SOURCE_UNREACHABLE, id="nobody-listens"),
    ],
)
def test_an_address_that_cannot_be_is_refused(address: str, endpoint: str, code: ExitCode) -> None:
    with pytest.raises(MultinodeError) as refusal:
        read_hub_model(address, {"HF_ENDPOINT": endpoint})
    assert refusal.value.code is code, refusal.value
    assert "secret" not in str(refusal.value)


def test_a_hub_that_does_not_end_its_answer_is_left(start: Serve) -> None:
    ended = threading.Event()

    def handle(asked: Asked) -> Answer:
        ended.wait(30)
        return Answer(500)

    server = start(Server(handle))
    try:
        with pytest.raises(MultinodeError, match="not complete after") as refusal:
            read_hub_model(ADDRESS, {"HF_ENDPOINT": server.url}, longest=0.2)
    finally:
        ended.set()
    assert refusal.value.code is ExitCode.SOURCE_UNREACHABLE
