"""Sources that mean harm or are broken: one line, within a bound, and nothing lost that had come."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sources import hub, registry, s3
from sources.models import SHARDS, model, same
from sources.servers import Answer, Asked, Server
from unit.storage.conftest import Fetch, Serve
from vllm_multinode.checkpoint.marker import WORK
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage import fetch as fetch_module
from vllm_multinode.storage.sources import bounded, web
from vllm_multinode.storage.sources import s3 as s3_source
from vllm_multinode.storage.sources import source as sources
from vllm_multinode.storage.sources.registry_auth import is_token_service
from vllm_multinode.storage.sources.source import LONGEST_WAIT, Item, PassingError, check_names, is_model_file

HTML = b"<html>Please log in</html>" * 50_000


def reply_with(server: Server, path: str, *answers: Answer) -> None:
    """Answer the next GETs of a path so, whatever the server would say."""
    handle, left = server.handle, list(answers)

    def instead(asked: Asked) -> Answer:
        return left.pop(0) if left and asked.path.endswith(path) and asked.method == "GET" else handle(asked)

    server.handle = instead


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of a test's length."""
    monkeypatch.setattr(bounded, "STALL", 0.2)
    monkeypatch.setattr(web, "_HEADERS", 0.5)


@pytest.mark.parametrize(
    ("realm", "registry_address", "is_own"),
    [
        pytest.param("https://quay.io/v2/auth", "https://quay.io", True, id="itself"),
        pytest.param("https://auth.docker.io/token", "https://registry-1.docker.io", True, id="beside"),
        pytest.param("https://gitlab.example.com/jwt", "https://registry.example.com", True, id="gitlab"),
        pytest.param("https://registry.example:5000/t", "https://registry.example:5000", True, id="port"),
        pytest.param("http://quay.io/v2/auth", "https://quay.io", False, id="without-tls"),
        pytest.param("https://evil.example/token", "https://quay.io", False, id="elsewhere"),
        pytest.param("https://quay.io.evil.example/token", "https://quay.io", False, id="prefix"),
        pytest.param("https://evil.azurecr.io/t", "https://mine.azurecr.io", False, id="shared-domain"),
        pytest.param("https://evil.co.uk/t", "https://registry.co.uk", False, id="second-level"),
        pytest.param("http://127.0.0.1:2/token", "http://127.0.0.1:1", False, id="another-port"),
        pytest.param("https://10.0.0.2/token", "https://10.0.0.1", False, id="another-address"),
        pytest.param("https://[bad", "https://quay.io", False, id="no-address"),
        pytest.param("file:///etc/passwd", "https://quay.io", False, id="file"),
    ],
)
def test_who_may_be_asked_for_a_token(realm: str, registry_address: str, is_own: bool) -> None:
    assert is_token_service(realm, registry_address) is is_own


def test_a_registry_that_sends_the_pull_secret_elsewhere(
    start: Serve, fetching: Fetch, tmp_path: Path
) -> None:
    thief = start(Server(lambda _: Answer(body=b'{"token": "x"}')))
    challenge = {"WWW-Authenticate": f'Bearer realm="{thief.url}/token",service="s",scope="x"'}
    server = start(Server(lambda _: Answer(401, challenge)))
    secret = tmp_path / "config.json"
    secret.write_text(registry.pull_secret(server.host))
    fetching.environment = {"REGISTRY_AUTH_FILE": str(secret)}
    with pytest.raises(MultinodeError, match="not a token service of the same domain") as caught:
        fetching(f"oci://{server.host}/team/model:v1")
    assert caught.value.code is ExitCode.SOURCE_DENIED
    assert thief.asked == []


def test_a_pull_secret_that_is_a_pipe(fetching: Fetch, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    fetching.environment = {"DOCKER_CONFIG": str(tmp_path)}
    with pytest.raises(MultinodeError, match="it is not a file"):
        fetching("oci://registry.invalid/team/model:v1")


@pytest.mark.parametrize(
    "token", ["two\nlines", "späße", "", 7, ["x"], "x" * 70_000], ids=lambda token: repr(token)[:12]
)
def test_a_token_that_cannot_be_sent(start: Serve, fetching: Fetch, token: object) -> None:
    def handle(asked: Asked) -> Answer:
        if asked.path == "/token":
            return Answer(body=json.dumps({"token": token}).encode())
        return Answer(401, {"WWW-Authenticate": f'Bearer realm="{server.url}/token",scope="x"'})

    server = start(Server(handle))
    with pytest.raises(MultinodeError) as caught:
        fetching(f"oci://{server.host}/team/model:v1")
    assert caught.value.code is ExitCode.SOURCE_DENIED
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("token", ["hf_a b", "hf_ä", "hf_\x00", "hf_" + "x" * 5000])
def test_a_hub_token_that_cannot_be_sent(fetching: Fetch, token: str) -> None:
    fetching.environment = {"HF_TOKEN": token}
    with pytest.raises(MultinodeError) as caught:
        fetching("hf://org/name")
    assert caught.value.code is ExitCode.VARIABLE
    assert token not in str(caught.value)


@pytest.mark.parametrize("asked", ["999999", "9" * 400, "-1", "Fri, 31 Dec 9999 23:59:59 GMT", "٣"])
def test_a_wait_that_a_source_asks_for_has_a_bound(start: Serve, asked: str) -> None:
    headers = {} if not asked.isascii() else {"Retry-After": asked}
    server = start(Server(lambda _: Answer(503, headers)))
    with requests.Session() as session, pytest.raises(PassingError) as caught:
        web.get(session, server.url, {})
    assert 0 <= caught.value.wait <= LONGEST_WAIT


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("source", ["hub-listing", "hub-file", "s3-file", "manifest", "token"])
def test_a_source_that_drips_ends_within_a_bound(start: Serve, fetching: Fetch, source: str) -> None:
    files = model()
    drip = [Answer(200, body=bytes(5000), drip=0.02)] * 100
    if source == "s3-file":
        server = start(s3.s3({f"llama/{name}": content for name, content in files.items()}))
        reply_with(server, SHARDS[1], *[Answer(200, body=files[SHARDS[1]], drip=0.02)] * 100)
        fetching.environment = {"AWS_ENDPOINT_URL": server.url}
        address = f"s3://{s3.BUCKET}/llama"
    elif source.startswith("hub"):
        server = start(hub.hub(files))
        path = "/revision/main" if source == "hub-listing" else SHARDS[1]
        whole = [Answer(200, body=files[SHARDS[1]], drip=0.02)] * 100
        reply_with(server, path, *(drip if source == "hub-listing" else whole))
        fetching.environment = {"HF_ENDPOINT": server.url}
        address = "hf://org/name"
    else:
        server = start(registry.registry(registry.image([b"x"], ["x"]), private=source == "token"))
        reply_with(server, "/token" if source == "token" else registry.TAG, *drip)
        address = f"oci://{server.host}/{registry.REPOSITORY}:{registry.TAG}"
    with pytest.raises(MultinodeError) as caught:
        fetching(address)
    assert caught.value.code is ExitCode.SOURCE_UNREACHABLE
    assert "times in a row" in str(caught.value)


@pytest.mark.parametrize("length", ["told", "not-told"])
def test_a_page_of_html_in_the_middle_does_not_cost_what_has_come(
    start: Serve, fetching: Fetch, length: str
) -> None:
    files = model()
    server = start(hub.hub(files))
    path = f"/org/name/resolve/{hub.COMMIT}/{SHARDS[1]}"
    server.cut[path] = [web.CHUNK * 2 + 1000]
    page = {"Content-Type": "text/html; charset=utf-8"}
    if length == "not-told":
        page |= {"Content-Length": "x", "Connection": "close"}
    handle, pages = server.handle, 3

    def portal(asked: Asked) -> Answer:
        nonlocal pages
        if asked.path == path and asked.headers.get("range") and pages:
            pages -= 1
            return Answer(200, page if length == "told" else {**page, "Content-Length": str(len(HTML))}, HTML)
        return handle(asked)

    server.handle = portal
    fetching.environment = {"HF_ENDPOINT": server.url}
    fetching("hf://org/name")
    assert same(files, fetching.model())
    starts = [span.removeprefix("bytes=").partition("-")[0] for span in server.reads(path)]
    assert starts[0] == ""
    assert all(int(begin) >= web.CHUNK * 2 for begin in starts[1:])
    assert len(starts) == 5


def test_a_range_that_begins_elsewhere_is_not_taken(start: Serve, fetching: Fetch) -> None:
    files = model()
    server = start(hub.hub(files))
    path = f"/org/name/resolve/{hub.COMMIT}/{SHARDS[1]}"
    server.cut[path] = [web.CHUNK + 1000]
    size = len(files[SHARDS[1]])
    shifted = Answer(206, {"Content-Range": f"bytes 7-{size - 1}/{size}"}, files[SHARDS[1]][7:])
    handle, wrong = server.handle, 1

    def shift(asked: Asked) -> Answer:
        nonlocal wrong
        if asked.path == path and asked.headers.get("range") and wrong:
            wrong -= 1
            return shifted
        return handle(asked)

    server.handle = shift
    fetching.environment = {"HF_ENDPOINT": server.url}
    fetching("hf://org/name")
    assert same(files, fetching.model())


def sibling(**fields: object) -> dict[str, object]:
    return {"rfilename": "config.json", "size": 2, "blobId": "0" * 40} | fields


LISTINGS = [
    pytest.param({"sha": "a" * 40, "siblings": [sibling(size=-1)]}, id="negative"),
    pytest.param({"sha": "a" * 40, "siblings": [sibling(size="two")]}, id="words"),
    pytest.param({"sha": "a" * 40, "siblings": [sibling(size=None)]}, id="no-size"),
    pytest.param({"sha": "a" * 40, "siblings": [sibling(size=1e400)]}, id="infinite"),
    pytest.param({"sha": "a" * 40, "siblings": [sibling(rfilename="a\x00b")]}, id="nought"),
    pytest.param({"sha": "a" * 40, "siblings": [sibling(rfilename="\ud800")]}, id="half-a-pair"),
    pytest.param({"sha": "a" * 40, "siblings": [sibling(rfilename="x" * 300)]}, id="long"),
    pytest.param({"sha": "a" * 40, "siblings": [sibling(rfilename="a\x1b[2J")]}, id="escape"),
    pytest.param({"sha": "a" * 40, "siblings": [sibling(rfilename="a//b")]}, id="two-slashes"),
    pytest.param({"sha": "a" * 40, "siblings": [sibling(), sibling()]}, id="twice"),
    pytest.param(
        {"sha": "a" * 40, "siblings": [sibling(), sibling(rfilename="config.json/x")]}, id="file-and-folder"
    ),
    pytest.param({"sha": "a" * 40, "siblings": ["config.json"]}, id="no-objects"),
    pytest.param({"sha": "a" * 40, "siblings": [sibling(lfs="x")]}, id="lfs-is-text"),
    pytest.param({"sha": "a" * 40, "siblings": 7}, id="no-list"),
    pytest.param({"sha": "../../x", "siblings": [sibling()]}, id="odd-commit"),
    pytest.param({"sha": None, "siblings": []}, id="nothing"),
    pytest.param([], id="list"),
]


@pytest.mark.parametrize("listing", LISTINGS)
def test_a_listing_that_no_hub_gives(start: Serve, fetching: Fetch, listing: object) -> None:
    server = start(Server(lambda _: Answer(body=json.dumps(listing).encode())))
    fetching.environment = {"HF_ENDPOINT": server.url}
    with pytest.raises(MultinodeError) as caught:
        fetching("hf://org/name")
    assert caught.value.code in (ExitCode.SOURCE_UNREACHABLE, ExitCode.MODEL_MISSING)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[" * 100_000, b"\xff\xfe", b'{"layers": [' * 5000, b"null", b"1" + b"0" * 5000],
    ids=["empty", "html", "deep", "binary", "cut", "null", "long-number"],
)
@pytest.mark.parametrize("source", ["hub", "s3", "registry"])
def test_an_answer_that_is_no_listing(start: Serve, fetching: Fetch, source: str, body: bytes) -> None:
    server = start(Server(lambda _: Answer(body=body)))
    fetching.environment = {"HF_ENDPOINT": server.url, "AWS_ENDPOINT_URL": server.url}
    addresses = {"hub": "hf://org/name", "s3": "s3://models/llama"}
    with pytest.raises(MultinodeError) as caught:
        fetching(addresses.get(source, f"oci://{server.host}/team/model:v1"))
    assert caught.value.code in (ExitCode.SOURCE_UNREACHABLE, ExitCode.MODEL_MISSING)
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
SIBLING = st.fixed_dictionaries(
    {"rfilename": JSON | st.just("config.json"), "size": JSON | st.integers(0, 9)},
    optional={"blobId": JSON | st.just("0" * 40), "lfs": JSON},
)
LAYER = st.fixed_dictionaries(
    {"digest": JSON | st.just(f"sha256:{'0' * 64}"), "size": JSON | st.integers(0, 9)},
    optional={"mediaType": JSON, "annotations": JSON},
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    listing=JSON
    | st.fixed_dictionaries(
        {
            "sha": JSON | st.just("a" * 40),
            "siblings": JSON | st.lists(SIBLING, max_size=4),
            "layers": JSON | st.lists(LAYER, max_size=4),
        },
        optional={"manifests": JSON},
    )
)
def test_any_listing_is_an_error_of_one_line(fetching: Fetch, start: Serve, listing: Any) -> None:
    server = start(
        Server(lambda asked: Answer(404) if "blob" in asked.path or "resolve" in asked.path else answer)
    )
    answer = Answer(body=json.dumps(listing).encode())
    fetching.environment = {"HF_ENDPOINT": server.url}
    for address in ("hf://org/name", f"oci://{server.host}/team/model:v1"):
        with pytest.raises(MultinodeError) as caught:
            fetching(address)
        assert "\n" not in str(caught.value)


@given(st.lists(st.text(max_size=12), max_size=6))
def test_names_that_pass_can_be_written_side_by_side(names: list[str]) -> None:
    items = [Item(name, 1, None, "1") for name in names if is_model_file(name)]
    with suppress(MultinodeError), tempfile.TemporaryDirectory() as folder:
        check_names(items, "hf://org/name")
        for item in items:
            path = Path(folder, item.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(b"x")


@pytest.mark.parametrize("target", ["/etc/hostname", "../secret"], ids=["absolute", "relative"])
def test_a_link_out_of_a_directory_is_refused(fetching: Fetch, tmp_path: Path, target: str) -> None:
    (tmp_path / "secret").write_text("key")
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    (source / "tokenizer.json").symlink_to(target)
    with pytest.raises(MultinodeError, match=r"tokenizer\.json is a link that leads out") as caught:
        fetching(f"file://{source}")
    assert caught.value.code is ExitCode.MODEL_MISSING
    assert fetching.model() == {}


def test_links_of_a_hubs_cache_are_followed(fetching: Fetch, tmp_path: Path) -> None:
    files = model()
    cache = tmp_path / "models--org--name"
    snapshot = cache / "snapshots" / hub.COMMIT
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, (name, content) in enumerate(files.items()):
        (cache / "blobs" / str(number)).write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{number}")
    fetching(f"file://{snapshot}")
    assert same(files, fetching.model())


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_not_passed_over(fetching: Fetch, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "closed").mkdir(parents=True, mode=0)
    (source / "config.json").write_text("{}")
    with pytest.raises(MultinodeError, match="cannot be read") as caught:
        fetching(f"file://{source}")
    assert caught.value.code is ExitCode.SOURCE_UNREACHABLE


def test_a_name_that_is_taken_is_not_blamed_on_the_mount(fetching: Fetch, start: Serve) -> None:
    (fetching.directory / "config.json").mkdir(parents=True)
    fetching.environment = {"HF_ENDPOINT": start(hub.hub(model())).url}
    with pytest.raises(MultinodeError, match="in the way") as caught:
        fetching("hf://org/name")
    assert caught.value.code is ExitCode.NOT_WRITABLE
    assert "mounted" not in str(caught.value)
    assert (fetching.directory / WORK).is_dir()


def test_a_source_without_ranges_that_breaks_off_here_and_there_is_given_up(
    start: Serve, fetching: Fetch
) -> None:
    server = start(hub.hub(model()))
    server.ranges = False
    path = f"/org/name/resolve/{hub.COMMIT}/{SHARDS[1]}"
    server.cut[path] = [web.CHUNK + 1000, 2 * web.CHUNK + 1000] * 50
    fetching.environment = {"HF_ENDPOINT": server.url}
    with pytest.raises(MultinodeError, match="times in a row") as caught:
        fetching("hf://org/name")
    assert caught.value.code is ExitCode.SOURCE_UNREACHABLE


def test_ranges_of_a_few_bytes_are_no_progress(start: Serve, fetching: Fetch) -> None:
    files = model()
    server = start(hub.hub(files))
    handle, size = server.handle, len(files[SHARDS[1]])

    def few(asked: Asked) -> Answer:
        if not asked.path.endswith(SHARDS[1]):
            return handle(asked)
        begin = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        return Answer(206, {"Content-Range": f"bytes {begin}-{size - 1}/{size}"}, b"x")

    server.handle = few
    fetching.environment = {"HF_ENDPOINT": server.url}
    with pytest.raises(MultinodeError, match="a range of 1 bytes") as caught:
        fetching("hf://org/name")
    assert caught.value.code is ExitCode.SOURCE_UNREACHABLE
    assert len(server.reads(SHARDS[1])) < 20


def test_many_small_pieces_do_not_put_an_end_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "STALL", 0.3)

    def pieces() -> Iterator[bytes]:
        while True:
            time.sleep(0.01)
            yield b"x"

    with pytest.raises(PassingError, match="nothing to speak of"):
        sum(len(piece) for piece in bounded.paced(pieces(), "it"))


@pytest.mark.parametrize("length", ["9" * 5000, "1_0", "\u00b2"], ids=["long", "underscore", "superscript"])
def test_a_length_that_is_no_number(start: Serve, fetching: Fetch, length: str) -> None:
    server = start(hub.hub(model()))
    reply_with(server, SHARDS[1], *[Answer(200, {"Content-Length": length, "Connection": "close"})] * 100)
    fetching.environment = {"HF_ENDPOINT": server.url}
    with pytest.raises(MultinodeError) as caught:
        fetching("hf://org/name")
    assert caught.value.code is ExitCode.SOURCE_UNREACHABLE


def test_a_listing_of_more_files_than_a_model_has(
    start: Serve, fetching: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MOST_ITEMS", 3)
    fetching.environment = {"HF_ENDPOINT": start(hub.hub(model())).url}
    with pytest.raises(MultinodeError, match="more than 3 files"):
        fetching("hf://org/name")


def s3_answers(answer: Answer) -> Server:
    return Server(lambda _: answer)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(307, {"Location": "http://127.0.0.1:1/"}), id="redirect"),
        pytest.param(Answer(200, body=b"<?xml version='1.0'?>" + b" " * 5000), id="longer-than-a-list"),
        pytest.param(Answer(200, body=b" " * 500, drip=0.02), id="drips"),
        pytest.param(Answer(400, body=b"<Error><Code>" + b"A" * 5000 + b"</Code></Error>"), id="long-code"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_an_odd_store_of_objects(
    start: Serve, fetching: Fetch, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr(s3_source, "_MOST_ANSWER", 6000 if answer.status == 400 else 4000)
    server = start(s3_answers(answer))
    fetching.environment = {"AWS_ENDPOINT_URL": server.url}
    with pytest.raises(MultinodeError) as caught:
        fetching(f"s3://{s3.BUCKET}/llama")
    assert caught.value.code is ExitCode.SOURCE_UNREACHABLE
    assert len(str(caught.value)) < 500


def test_a_list_of_objects_page_after_page_ends_within_a_bound(
    start: Serve, fetching: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "_LISTING", 1.0)
    pages = 0

    def page(_: Asked) -> Answer:
        nonlocal pages
        pages += 1
        time.sleep(0.05)
        token = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{pages}</NextContinuationToken>"
        body = f"<?xml version='1.0'?><ListBucketResult>{token}</ListBucketResult>"
        return Answer(body=body.encode())

    fetching.environment = {"AWS_ENDPOINT_URL": start(Server(page)).url}
    with pytest.raises(MultinodeError, match="list of files is not complete") as caught:
        fetching(f"s3://{s3.BUCKET}/llama")
    assert caught.value.code is ExitCode.SOURCE_UNREACHABLE
