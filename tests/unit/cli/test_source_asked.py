"""`up --out` and `validate --online` ask whether a model is at its source; without it nothing is written."""

from pathlib import Path

import pytest
import yaml

from sources import hub, registry, s3
from sources.servers import Answer, Asked, Server, serve
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage import source_model

FILES = {"config.json": b"{}", "model.safetensors": b"x" * 5000}
KEYS = {"AWS_ACCESS_KEY_ID": s3.KEY, "AWS_SECRET_ACCESS_KEY": s3.SECRET, "AWS_REGION": "us-east-1"}
UP = ["up", "llama-3.3-70b-instruct", "--gpu", "H100-SXM", "--gpus-per-node", "2", "--kserve", "0.19.0"]


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine may ask, and has credentials for the bucket alone."""
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


class Both:
    """`up --out` and `validate --online` of one source."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capsys = capsys
        self._number = 0

    def __call__(self, source: str, code: ExitCode) -> list[str]:
        """What each says last; `up` has written its folder only where all is well."""
        self._number += 1
        out = self._folder / f"out-{self._number}"
        assert run([*UP, "--source", source, "--out", str(out)]) == code
        lines = [self._last()]
        assert out.exists() == (code == ExitCode.OK)
        spec = self._folder / "spec.yaml"
        model = {"source": source, "size": "10Gi"}
        spec.write_text(yaml.safe_dump({"name": "llm", "model": model, "parallelism": {"pipeline": 2}}))
        assert run(["validate", str(spec), "--online", "--kserve", "0.19.0"]) == code
        return [*lines, self._last()]

    def _last(self) -> str:
        return (self._capsys.readouterr().err.splitlines() or [""])[-1]


@pytest.fixture
def both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Both:
    return Both(tmp_path, capsys)


def test_a_model_that_is_there(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(hub.hub(FILES)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        both("hf://org/name", ExitCode.OK)
        assert len(server.asked) >= 2


@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        pytest.param(None, ExitCode.MODEL_MISSING, "(404)", id="no-such-model"),
        pytest.param(
            {f"unet/{name}": body for name, body in FILES.items()},
            ExitCode.MODEL_CONFIG,
            "There is one in its folder unet",
            id="only-in-a-folder",
        ),
        pytest.param({"config.json": b"{}", "README.md": b"x"}, ExitCode.SHARD_ABSENT, "weights", id="empty"),
    ],
)
def test_a_hub_without_the_model(
    files: dict[str, bytes] | None, code: ExitCode, says: str, both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(hub.hub(files or FILES)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        source = "hf://org/name" if files else "hf://org/elsewhere"
        for last in both(source, code):
            assert last.startswith(f"multinode: {source}: ")
            assert says in last


def test_a_prefix_one_level_too_high(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(s3.s3({f"all/llm/{name}": body for name, body in FILES.items()})) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        for last in both("s3://models/all", ExitCode.MODEL_CONFIG):
            assert last.startswith("multinode: s3://models/all: there is no config.json")
            assert "use s3://models/all/llm" in last


def address(server: Server, tag: str = registry.TAG) -> str:
    return f"oci://{server.host}/{registry.REPOSITORY}:{tag}"


@pytest.mark.parametrize("packed", [pytest.param(False, id="tar"), pytest.param(True, id="gzip")])
def test_an_image(packed: bool, both: Both) -> None:
    base = registry.layer({"bin/sh": b"x" * 300_000}, packed=packed)
    model = registry.layer({"models/config.json": b"{}", **{f"models/{n}": b for n, b in FILES.items()}})
    with serve(registry.registry(registry.image([base, model]))) as server:
        both(address(server), ExitCode.OK)
    with serve(registry.registry(registry.image([base]))) as server:
        for last in both(address(server), ExitCode.MODEL_MISSING):
            assert "none of the image's 1 layers has a file below /models" in last
        for last in both(address(server, "elsewhere"), ExitCode.MODEL_MISSING):
            assert last.startswith(f"multinode: {address(server, 'elsewhere')}: ")


def test_an_artifact_without_a_configuration(both: Both) -> None:
    held = registry.image([b"x" * 100], ["model.safetensors"])
    with serve(registry.registry(held)) as server:
        for last in both(address(server), ExitCode.MODEL_CONFIG):
            assert "there is no config.json among its 1 files" in last


def test_a_registry_that_refuses(both: Both) -> None:
    def refuse(_: Asked) -> Answer:
        return Answer(401, {"WWW-Authenticate": 'Basic realm="r"'})

    with serve(Server(refuse)) as server:
        for last in both(address(server), ExitCode.SOURCE_DENIED):
            assert "sourceSecret" in last


def test_an_image_too_large_to_read_is_left_to_the_job(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_model, "_MOST_READ", 100_000)
    with serve(registry.registry(registry.image([registry.layer({"bin/sh": b"x" * 300_000})]))) as server:
        both(address(server), ExitCode.OK)
