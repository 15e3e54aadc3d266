"""Every source: whole, broken off and taken up again, damaged, refused; and no secret in what is said."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sources import hub, registry, s3
from sources.models import SHARDS, model, same
from sources.servers import Answer, Server
from unit.storage.conftest import Fetch, Serve
from vllm_multinode.checkpoint.marker import MARKER, WORK, read_marker
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.sources import web


@dataclass
class Scene:
    """One source with one model.

    Attributes:
        address: of the source.
        server: that the bytes come from.
        path: on the server, of the last shard (of the layer that holds it).
        length: of what lies there.
        environment: that the source is opened with.
        digest: what the marker says of the last shard.
    """

    address: str
    server: Server
    path: str
    length: int
    environment: dict[str, str] = field(default_factory=dict)
    digest: str = "sha256"


Setting = Callable[[Serve, dict[str, bytes], Path], Scene]


def from_hub(start: Serve, files: dict[str, bytes], folder: Path) -> Scene:
    store = start(hub.store(files))
    asked = start(hub.hub(files, gated=True, store=store))
    environment = {"HF_ENDPOINT": asked.url, "HF_TOKEN": hub.TOKEN}
    return Scene("hf://org/name", store, f"/{SHARDS[1]}", len(files[SHARDS[1]]), environment)


def from_s3(start: Serve, files: dict[str, bytes], folder: Path) -> Scene:
    server = start(s3.s3({f"llama/{name}": content for name, content in files.items()}))
    path = f"/{s3.BUCKET}/llama/{SHARDS[1]}"
    environment = {"AWS_ENDPOINT_URL": server.url}
    return Scene(f"s3://{s3.BUCKET}/llama", server, path, len(files[SHARDS[1]]), environment, "md5-parts")


def from_artifact(start: Serve, files: dict[str, bytes], folder: Path) -> Scene:
    server = start(registry.registry(registry.image(list(files.values()), list(files)), private=True))
    return _from_registry(server, server, files[SHARDS[1]], folder)


def from_image(start: Serve, files: dict[str, bytes], folder: Path) -> Scene:
    last = {f"models/{SHARDS[1]}": files[SHARDS[1]]}
    others = {f"models/{name}": content for name, content in files.items() if name != SHARDS[1]}
    blobs = [registry.layer({"etc/passwd": b"x", **others}, packed=True), registry.layer(last)]
    held = registry.image(blobs)
    store = start(registry.store(held))
    scene = _from_registry(start(registry.registry(held, private=True, store=store)), store, blobs[1], folder)
    scene.digest = ""
    return scene


def _from_registry(server: Server, store: Server, blob: bytes, folder: Path) -> Scene:
    secret = folder / "config.json"
    secret.write_text(registry.pull_secret(server.host))
    name = registry._digest(blob)
    path = f"/{name}" if store is not server else f"/v2/{registry.REPOSITORY}/blobs/{name}"
    address = f"oci://{server.host}/{registry.REPOSITORY}:{registry.TAG}"
    return Scene(address, store, path, len(blob), {"REGISTRY_AUTH_FILE": str(secret)})


SETTINGS = [
    pytest.param(from_hub, id="hub"),
    pytest.param(from_s3, id="s3"),
    pytest.param(from_image, id="image"),
    pytest.param(from_artifact, id="artifact"),
]
SECRETS = (hub.TOKEN, hub.SIGNATURE, s3.SECRET, registry.PASSWORD, registry.BEARER)


@pytest.fixture(autouse=True)
def nothing_secret_is_said(
    fetching: Fetch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """Holds for every test here: neither log nor output nor anything in the claim has a secret."""
    yield
    printed = capfd.readouterr()
    logged = [caplog.handler.format(record) for record in caplog.get_records("call")]
    said = "\n".join((*logged, printed.out, printed.err))
    written = b"".join(content for name, content in fetching.found().items() if name.startswith("."))
    for secret in SECRETS:
        assert secret not in said
        assert secret.encode() not in written


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_model_comes_whole_and_a_second_run_asks_nothing(
    start: Serve, fetching: Fetch, tmp_path: Path, setting: Setting
) -> None:
    files = model()
    scene = setting(start, files, tmp_path)
    fetching.environment = scene.environment
    marker = fetching(scene.address)
    assert same(files, fetching.model())
    assert marker == read_marker(fetching.directory)
    assert marker.state == "whole"
    assert marker.source == scene.address
    assert {name: file.size for name, file in marker.files.items()} == {
        name: len(content) for name, content in files.items()
    }
    assert marker.bytes == sum(map(len, files.values()))
    assert marker.files[SHARDS[1]].digest.partition(":")[0] == scene.digest
    assert [name for name in fetching.found() if name.startswith(".")] == [MARKER]
    before = len(scene.server.asked)
    assert fetching(scene.address) == marker
    assert len(scene.server.asked) == before


@pytest.mark.parametrize("setting", SETTINGS)
def test_it_goes_on_at_the_byte_where_a_connection_broke(
    start: Serve, fetching: Fetch, tmp_path: Path, setting: Setting
) -> None:
    files = model()
    scene = setting(start, files, tmp_path)
    fetching.environment = scene.environment
    # Each piece is longer than a chunk, so that something of it has arrived.
    scene.server.cut[scene.path] = [web.CHUNK + 1000, web.CHUNK + 500]
    fetching(scene.address)
    assert same(files, fetching.model())
    spans = [span.removeprefix("bytes=").partition("-")[0] for span in scene.server.reads(scene.path)]
    assert spans[0] == ""
    assert len(spans) == 3
    assert [int(span) >= web.CHUNK * number for number, span in enumerate(spans[1:], 1)] == [True, True]


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_next_job_goes_on_where_the_last_one_died(
    start: Serve, fetching: Fetch, tmp_path: Path, setting: Setting
) -> None:
    files = model()
    scene = setting(start, files, tmp_path)
    fetching.environment = scene.environment
    # Nothing arrives any more after the first piece, however often it is tried.
    scene.server.cut[scene.path] = [web.CHUNK + 1000] + [0] * 20
    with pytest.raises(MultinodeError) as caught:
        fetching(scene.address)
    assert caught.value.code is ExitCode.SOURCE_UNREACHABLE
    assert "times in a row" in str(caught.value)
    marker = read_marker(fetching.directory)
    assert marker is not None
    assert marker.state == "failed"
    assert marker.reason == str(caught.value)
    assert SHARDS[1] not in fetching.model()
    partial = next(path for path in (fetching.directory / WORK).rglob("*.partial") if path.stat().st_size)
    had = partial.stat().st_size
    assert had >= web.CHUNK
    scene.server.cut.clear()
    scene.server.asked.clear()
    fetching(scene.address)
    assert same(files, fetching.model())
    assert scene.server.reads(scene.path) == [
        f"bytes={had}-" + ("" if "s3" in scene.address else f"{scene.length - 1}")
    ]
    assert len([one for one in scene.server.asked if SHARDS[0] in one.path]) == 0


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_source_without_ranges_is_read_anew(
    start: Serve, fetching: Fetch, tmp_path: Path, setting: Setting
) -> None:
    files = model()
    scene = setting(start, files, tmp_path)
    fetching.environment = scene.environment
    scene.server.ranges = False
    scene.server.cut[scene.path] = [web.CHUNK + 1000]
    fetching(scene.address)
    assert same(files, fetching.model())
    assert len(scene.server.reads(scene.path)) == 2


@pytest.mark.parametrize("setting", SETTINGS)
def test_bytes_that_are_not_what_the_source_says(
    start: Serve, fetching: Fetch, tmp_path: Path, setting: Setting
) -> None:
    files = model()
    scene = setting(start, files, tmp_path)
    fetching.environment = scene.environment
    handle = scene.server.handle

    def damaged(asked: object) -> object:
        answer = handle(asked)  # type: ignore[arg-type]
        if asked.path == scene.path and answer.file:  # type: ignore[attr-defined]
            object.__setattr__(answer, "body", answer.body[:-1] + bytes([answer.body[-1] ^ 1]))
        return answer

    scene.server.handle = damaged  # type: ignore[assignment]
    with pytest.raises(MultinodeError) as caught:
        fetching(scene.address)
    assert caught.value.code is ExitCode.SHARD_TRUNCATED
    # It may have been the network: it was fetched a second time.
    assert len(scene.server.reads(scene.path)) == 2
    scene.server.handle = handle
    fetching(scene.address)
    assert same(files, fetching.model())


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_shard_that_is_truncated_at_the_source(
    start: Serve, fetching: Fetch, tmp_path: Path, setting: Setting
) -> None:
    files = model()
    files[SHARDS[1]] = files[SHARDS[1]][:-7]
    scene = setting(start, files, tmp_path)
    fetching.environment = scene.environment
    with pytest.raises(MultinodeError) as caught:
        fetching(scene.address)
    assert caught.value.code is ExitCode.SHARD_TRUNCATED
    assert SHARDS[1] in str(caught.value)
    marker = read_marker(fetching.directory)
    assert marker is not None
    assert marker.state == "failed"


@pytest.mark.parametrize("setting", SETTINGS)
def test_without_credentials_it_is_refused(
    start: Serve, fetching: Fetch, tmp_path: Path, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = setting(start, model(), tmp_path)
    fetching.environment = {
        name: value
        for name, value in scene.environment.items()
        if name in ("HF_ENDPOINT", "AWS_ENDPOINT_URL")
    }
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(MultinodeError) as caught:
        fetching(scene.address)
    assert caught.value.code is ExitCode.SOURCE_DENIED
    assert "\n" not in str(caught.value)
    assert not any(SHARDS[0] in name for name in fetching.found())


@pytest.mark.parametrize(
    ("address", "variable"),
    [
        pytest.param("hf://org/name", "HF_ENDPOINT", id="hub"),
        pytest.param("s3://models/llama", "AWS_ENDPOINT_URL", id="s3"),
        pytest.param("oci://127.0.0.1:9/team/model:v1", "", id="registry"),
    ],
)
def test_a_source_that_does_not_answer(fetching: Fetch, address: str, variable: str) -> None:
    # Port 9 discards, where anything listens at all.
    fetching.environment = {variable: "http://127.0.0.1:9"} if variable else {}
    with pytest.raises(MultinodeError) as caught:
        fetching(address)
    assert caught.value.code is ExitCode.SOURCE_UNREACHABLE
    assert "127.0.0.1:9" in str(caught.value)
    # Nothing was begun, so that nothing says that it was.
    assert read_marker(fetching.directory) is None


@pytest.mark.parametrize(
    ("address", "what"),
    [
        pytest.param("hf://org/name@v2", "no revision v2", id="hub-revision"),
        pytest.param("hf://org/another", "no such thing", id="hub-model"),
    ],
)
def test_what_the_hub_does_not_have(start: Serve, fetching: Fetch, address: str, what: str) -> None:
    fetching.environment = {"HF_ENDPOINT": start(hub.hub(model())).url}
    with pytest.raises(MultinodeError, match=what) as caught:
        fetching(address)
    assert caught.value.code is ExitCode.MODEL_MISSING


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(f"s3://{s3.BUCKET}/elsewhere", id="prefix"),
        pytest.param("s3://no-such-bucket/llama", id="bucket"),
    ],
)
def test_what_s3_does_not_have(start: Serve, fetching: Fetch, address: str) -> None:
    fetching.environment = {"AWS_ENDPOINT_URL": start(s3.s3({"llama/config.json": b"{}"})).url}
    with pytest.raises(MultinodeError) as caught:
        fetching(address)
    assert caught.value.code is ExitCode.MODEL_MISSING


def test_an_object_that_changes_while_it_is_read(start: Serve, fetching: Fetch) -> None:
    objects = dict(model())
    server = start(s3.s3(objects))
    server.cut[f"/{s3.BUCKET}/{SHARDS[1]}"] = [web.CHUNK + 1]
    handle = server.handle

    def changing(asked: object) -> object:
        answer = handle(asked)  # type: ignore[arg-type]
        if asked.method == "GET" and SHARDS[1] in asked.path:  # type: ignore[attr-defined]
            objects[SHARDS[1]] = model(seed=5)[SHARDS[1]]
        return answer

    server.handle = changing  # type: ignore[assignment]
    fetching.environment = {"AWS_ENDPOINT_URL": server.url}
    with pytest.raises(MultinodeError, match="changed at the source"):
        fetching(f"s3://{s3.BUCKET}")


def test_an_etag_of_an_encrypted_object_is_no_checksum(start: Serve, fetching: Fetch) -> None:
    files = model()
    fetching.environment = {"AWS_ENDPOINT_URL": start(s3.s3(files, encrypted=True)).url}
    marker = fetching(f"s3://{s3.BUCKET}")
    assert same(files, fetching.model())
    assert {file.digest for file in marker.files.values()} == {""}


def test_a_store_that_a_registry_redirects_to_gets_no_token_however_it_asks(
    start: Serve, fetching: Fetch, tmp_path: Path
) -> None:
    store = start(Server(lambda _: Answer(401, {"WWW-Authenticate": f'Bearer realm="{store.url}/token"'})))
    held = registry.image([registry.layer({"models/config.json": b"{}"})])
    server = start(registry.registry(held, private=True, store=store))
    scene = _from_registry(server, store, b"", tmp_path)
    fetching.environment = scene.environment
    with pytest.raises(MultinodeError) as caught:
        fetching(scene.address)
    assert caught.value.code is ExitCode.SOURCE_DENIED
    assert len(store.asked) == 1
    assert "authorization" not in store.asked[0].headers


def test_s3_without_boto3(fetching: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(MultinodeError, match=r"vllm-multinode\[s3\]") as caught:
        fetching("s3://models/llama")
    assert caught.value.code is ExitCode.IMAGE


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("hf://hf_secret@org/name", id="hub"),
        pytest.param("s3://KEY:secret@bucket/prefix", id="s3"),
        pytest.param("oci://robot:secret@registry/model:v1", id="registry"),
        pytest.param("https://host/model?sig=secret", id="signature"),
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(fetching: Fetch, address: str) -> None:
    with pytest.raises(MultinodeError) as caught:
        fetching(address)
    assert caught.value.code is ExitCode.USAGE
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["org/name", "hf://name", "hf://", "oci://registry/model", "s3://", "file://relative", "https://host/x"],
)
def test_what_is_no_address(fetching: Fetch, address: str) -> None:
    with pytest.raises(MultinodeError, match="names no source") as caught:
        fetching(address)
    assert caught.value.code is ExitCode.USAGE


def test_a_token_from_a_file(start: Serve, fetching: Fetch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{hub.TOKEN}\n")
    server = start(hub.hub(model(), gated=True))
    fetching.environment = {"HF_ENDPOINT": server.url, "HF_TOKEN_PATH": str(tmp_path / "token")}
    assert fetching("hf://org/name").state == "whole"
    os.mkfifo(tmp_path / "pipe")
    fetching.environment["HF_TOKEN_PATH"] = str(tmp_path / "pipe")
    with pytest.raises(MultinodeError, match="it is not a file"):
        fetching("hf://org/name")
    fetching.environment["HF_TOKEN_PATH"] = str(tmp_path / "absent")
    with pytest.raises(MultinodeError, match="No such file"):
        fetching("hf://org/name")
