"""The size of a model that only its source knows, as `render`, `validate`, `deploy` and `delete` take it."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from sources import hub, registry, s3
from sources.servers import Answer, Server, serve
from vllm_multinode.authoring import inputs
from vllm_multinode.cli.app import run
from vllm_multinode.cli.source_size import whatever_size
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.releases import DEFAULT
from vllm_multinode.storage import listed_size as listing

GIB = 1 << 30
WEIGHTS = "model.safetensors"


def write(folder: Path, **model: Any) -> str:
    file = folder / "spec.yaml"
    body = {"name": "llm", "model": {"source": "hf://org/name", **model}, "parallelism": {"pipeline": 2}}
    file.write_text(yaml.safe_dump(body))
    return str(file)


def claims_size(text: str) -> str:
    claims = [one for one in yaml.safe_load_all(text) if one["kind"] == "PersistentVolumeClaim"]
    return str(claims[0]["spec"]["resources"]["requests"]["storage"])


def large(sizes: Mapping[str, int]) -> Server:
    """A hub whose files are too large to be held here; only its list is asked for."""
    siblings = [
        {"rfilename": name, "size": size, "lfs": {"sha256": "0" * 64, "size": size}}
        for name, size in sizes.items()
    ]
    return Server(lambda _: Answer(body=json.dumps({"sha": hub.COMMIT, "siblings": siblings}).encode()))


def test_the_claim_has_room_for_what_the_hub_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The same weights in another form are not fetched, so they are not counted.
    sizes = {"config.json": 1000, WEIGHTS: 100 * GIB, "pytorch_model.bin": 100 * GIB}
    with serve(large(sizes)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert run(["render", "-f", write(tmp_path)]) == ExitCode.OK
        printed = capsys.readouterr()
        assert run(["validate", write(tmp_path), "--kserve", "0.19.0"]) == ExitCode.OK
    # 101 GiB with the configuration, and a tenth more.
    assert claims_size(printed.out) == "112Gi"
    assert "note: model.size is 101Gi, as hf://org/name lists it" in printed.err


def test_a_mirror_that_the_spec_names_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    with serve(large({WEIGHTS: GIB})) as server:
        assert run(["render", "-f", write(tmp_path, sourceEnv={"HF_ENDPOINT": server.url})]) == ExitCode.OK
    assert claims_size(capsys.readouterr().out) == "2Gi"


def test_a_bucket_and_an_image_are_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    content = {WEIGHTS: b"x" * 5000}
    for name, value in (
        ("AWS_ACCESS_KEY_ID", s3.KEY),
        ("AWS_SECRET_ACCESS_KEY", s3.SECRET),
        ("AWS_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    with serve(s3.s3({"llm/" + name: body for name, body in content.items()})) as server:
        environment = {"AWS_ENDPOINT_URL": server.url}
        assert listing.listed_size("s3://models/llm", environment) == 5000
    layer = registry.layer({"models/model.safetensors": b"x" * 5000})
    with serve(registry.registry(registry.image([layer]))) as server:
        address = f"oci://{server.url.removeprefix('http://')}/{registry.REPOSITORY}:{registry.TAG}"
        assert listing.listed_size(address, {}) == len(layer)


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        pytest.param("hf://org/name", ExitCode.SOURCE_UNREACHABLE, "does not answer", id="away"),
        pytest.param("file://other/llm", ExitCode.SPEC, "only the cluster can read", id="another-claim"),
    ],
)
def test_a_size_that_nobody_tells_is_asked_for(
    source: str,
    code: ExitCode,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for command in ("render", "-f"), ("validate",), ("preview", "-f"):
        assert run([*command, write(tmp_path, source=source)]) == code, command
        printed = capsys.readouterr().err
        assert says in printed, command
        assert "size" in printed.splitlines()[-1]


def test_a_source_that_never_ends_its_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listing.listed_size, "__defaults__", (0.5,))
    with serve(Server(lambda _: Answer(body=b" " * 10_000, drip=0.1))) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        began = time.monotonic()
        assert run(["render", "-f", write(tmp_path)]) == ExitCode.SOURCE_UNREACHABLE
        assert time.monotonic() - began < 60
    assert "its list of files is not complete after 0.5 s" in capsys.readouterr().err


def test_what_else_is_wrong_with_a_spec_is_told_before_a_source_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(large({WEIGHTS: GIB})) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert run(["render", "-f", write(tmp_path, path="../up")]) == ExitCode.SPEC
        assert server.asked == []
    assert "not a folder of the claim" in capsys.readouterr().err


def test_what_is_deleted_needs_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(large({WEIGHTS: GIB})) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        documents = whatever_size(inputs.read([write(tmp_path)])).rendered(DEFAULT)
        assert server.asked == []
    assert {"InferenceService", "PersistentVolumeClaim"} < {one.kind for one in documents}
