"""Right listings with wrong places in them, of every kind of source: files to be written, or one line."""

import json
from types import SimpleNamespace
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mutations import ODD, broken, mutated
from sources import s3
from sources.servers import Answer, Asked, Server
from unit.storage.conftest import Fetch, Serve
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.storage.sources.open import open_source
from vllm_multinode.storage.sources.source import PassingError, Source, check_names, is_model_file

SHA256 = f"sha256:{'0' * 64}"
HUB = {
    "id": "org/name",
    "sha": "a" * 40,
    "siblings": [
        {"rfilename": "config.json", "size": 2, "blobId": "0" * 40},
        {
            "rfilename": "model.safetensors",
            "size": 9,
            "lfs": {"sha256": "0" * 64, "size": 9, "pointerSize": 1},
        },
    ],
}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": SHA256, "size": 9}
TITLED = {
    "mediaType": "application/octet-stream",
    "digest": SHA256,
    "size": 9,
    "annotations": {"org.opencontainers.image.title": "config.json"},
}
IMAGES = (
    {"schemaVersion": 2, "layers": [LAYER, LAYER]},
    {"schemaVersion": 2, "layers": [TITLED]},
    {
        "schemaVersion": 2,
        "manifests": [{"digest": SHA256, "platform": {"architecture": "amd64"}}, {"digest": SHA256}],
    },
)
OBJECTS = {
    "Name": s3.BUCKET,
    "Prefix": "llama/",
    "IsTruncated": "false",
    "Contents": [
        {"Key": "llama/config.json", "Size": "2", "ETag": '"0"'},
        {"Key": "llama/model.safetensors", "Size": "9", "ETag": '"00-2"'},
    ],
}
FUZZED = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=120
)


def read(source: Source) -> str:
    """What becomes of a listing: `files`, or the words of a refusal."""
    try:
        listing = source.listing()
        if listing.unpack is None:
            check_names([item for item in listing.items if is_model_file(item.name)], source.name)
    except (MultinodeError, PassingError) as error:
        words = str(error)
        assert words.isprintable(), words
        assert len(words) < 1000, words
        return words
    assert listing.revision.isprintable()
    for item in listing.items:
        assert item.size >= 0 or listing.unpack is None
        assert item.version.isprintable()
    return "files"


@pytest.fixture
def answering(start: Serve) -> tuple[Server, list[Answer]]:
    """A server, and what it answers next to every request."""
    said = [Answer()]
    return start(Server(lambda _: said[0])), said


@FUZZED
@given(listing=mutated(HUB).map(lambda one: json.dumps(one).encode()).flatmap(broken))
@pytest.mark.usefixtures("fetching")
def test_a_hubs_files(answering: tuple[Server, list[Answer]], listing: bytes) -> None:
    server, said = answering
    said[0] = Answer(body=listing)
    read(open_source("hf://org/name", {"HF_ENDPOINT": server.url}))


@FUZZED
@given(
    manifest=st.sampled_from(IMAGES)
    .flatmap(mutated)
    .map(lambda one: json.dumps(one).encode())
    .flatmap(broken)
)
@pytest.mark.usefixtures("fetching")
def test_a_registrys_manifest(answering: tuple[Server, list[Answer]], manifest: bytes) -> None:
    server, said = answering
    said[0] = Answer(body=manifest)
    read(open_source(f"oci://{server.host}/team/model:v1", {}))


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 waits before it asks again, up to 20 s."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))


@pytest.fixture
def bucket(fetching: Fetch, in_a_hurry: None, answering: tuple[Server, list[Answer]]) -> Source:
    """One, because boto3 takes a quarter of a second to make it."""
    return open_source("s3://models/llama", {"AWS_ENDPOINT_URL": answering[0].url})


def xml(name: str, value: Any) -> str:
    """An element, as S3 writes it; of a list one for each."""
    if isinstance(value, list):
        return "".join(xml(name, one) for one in value)
    inner = (
        "".join(xml(tag, child) for tag, child in value.items())
        if isinstance(value, dict)
        else escape(str(value))
    )
    return f"<{name}>{inner}</{name}>"


@FUZZED
@given(
    listing=mutated(OBJECTS, ODD | st.sampled_from(["true", "NaN", "-1", "2026-13-40", "9" * 30]))
    .map(lambda one: xml("ListBucketResult", one).encode("utf-8", "surrogatepass"))
    .flatmap(broken)
)
def test_a_stores_objects(bucket: Source, answering: tuple[Server, list[Answer]], listing: bytes) -> None:
    answering[1][0] = Answer(headers={"Content-Type": "application/xml"}, body=listing)
    read(bucket)


LAUGHS = (
    b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a0 'ha'>%s]>"
    b"<ListBucketResult><Name>&a9;</Name></ListBucketResult>"
)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            LAUGHS % b"".join(b"<!ENTITY a%d '%s'>" % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10)),
            id="entities-that-multiply",
        ),
        pytest.param(
            b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><ListBucketResult><Contents><Key>llama/&a;"
            b"</Key><Size>1</Size><ETag>x</ETag></Contents></ListBucketResult>",
            id="a-file-of-this-machine",
        ),
        pytest.param(b"<a>" * 200_000, id="deep"),
        pytest.param(
            b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>same"
            b"</NextContinuationToken></ListBucketResult>",
            id="the-same-page-again-and-again",
        ),
    ],
)
@pytest.mark.usefixtures("fetching", "in_a_hurry")
def test_xml_that_means_harm(start: Serve, body: bytes) -> None:
    server = start(Server(lambda _: Answer(headers={"Content-Type": "application/xml"}, body=body)))
    assert read(open_source("s3://models/llama", {"AWS_ENDPOINT_URL": server.url})) != "files"


@pytest.mark.usefixtures("fetching")
def test_pages_without_an_end(start: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_multinode.storage.sources.s3._MOST_PAGES", 20)

    def handle(_: Asked) -> Answer:
        page = OBJECTS | {"IsTruncated": "true", "NextContinuationToken": str(len(server.asked))}
        return Answer(
            headers={"Content-Type": "application/xml"}, body=xml("ListBucketResult", page).encode()
        )

    server = start(Server(handle))
    said = read(open_source("s3://models/llama", {"AWS_ENDPOINT_URL": server.url}))
    assert "a list of them without an end" in said
    assert len(server.asked) < 30
