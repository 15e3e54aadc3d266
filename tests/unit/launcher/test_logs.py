"""The supervisor's log as lines for people, or as JSON objects."""

import json
import logging
from collections.abc import Iterator

import pytest

from vllm_multinode.launcher.logs import log_to_stderr


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    package = logging.getLogger("vllm_multinode")
    before, level = list(package.handlers), package.level
    yield
    package.handlers[:] = before
    package.setLevel(level)


def test_a_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("INFO", "llm-0", "json")
    logger = logging.getLogger("vllm_multinode.test")
    logger.info("state: %s", 'serving "now"')
    try:
        raise ValueError("odd")  # noqa: TRY301
    except ValueError:
        logger.exception("a bug")
    first, second = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (first["level"], first["pod"], first["message"]) == ("INFO", "llm-0", 'state: serving "now"')
    assert first["time"].endswith("Z")
    assert "ValueError: odd" in second["exception"]


def test_lines_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("INFO", "llm-0")
    logging.getLogger("vllm_multinode.test").info("state: serving")
    assert capsys.readouterr().err.endswith("Z llm-0 INFO state: serving\n")
