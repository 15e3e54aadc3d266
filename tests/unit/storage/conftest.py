"""What the tests of fetching share."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sources import s3 as s3_server
from sources.servers import Server, serve
from vllm_multinode.checkpoint.marker import Marker
from vllm_multinode.storage.fetch import Options, fetch
from vllm_multinode.storage.sources.open import open_source

Serve = Callable[[Server], Server]


class Fetch:
    """Fetches as the command does, into one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment: dict[str, str] = {}

    def __call__(self, source: str, **options: object) -> Marker:
        given = Options(backoff=0.001, owner="test")
        for name, value in options.items():
            object.__setattr__(given, name, value)
        return fetch(open_source(source, self.environment), self.directory, given)

    def found(self) -> dict[str, bytes]:
        """The files that are there, hidden ones too."""
        paths = [path for path in self.directory.rglob("*") if path.is_file()]
        return {path.relative_to(self.directory).as_posix(): path.read_bytes() for path in paths}

    def model(self) -> dict[str, bytes]:
        """The files that are there, hidden ones aside."""
        return {name: content for name, content in self.found().items() if not name.startswith(".")}


@pytest.fixture
def start() -> Iterator[Serve]:
    with ExitStack() as servers:
        yield lambda server: servers.enter_context(serve(server))


@pytest.fixture
def fetching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Fetch:
    caplog.set_level(logging.INFO, "vllm_multinode")
    for name in ("HF_TOKEN", "HF_ENDPOINT", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    # boto3 reads its credentials from the process's own environment.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    return Fetch(tmp_path / "claim" / "model")
