import asyncio
import sys
from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.commands import parser
from vllm_multinode.launcher.commands.parser import Answer, ask, check_with_vllm, refusal

OPTIONS = {
    "--api-key": True,
    "--dtype": True,
    "--max-model-len": True,
    "--served-model-name": True,
    "--trust-remote-code": False,
}


def refused(words: str, *given: str, version: str = "0.32.0") -> str:
    argv = ("vllm", "serve", "/mnt/models", *given)
    error = refusal(Answer(words, OPTIONS, None), argv, given, version)
    assert error.code is ExitCode.ARGUMENTS
    assert "\n" not in str(error)
    return str(error)


@pytest.mark.parametrize(
    ("words", "given", "hint"),
    [
        pytest.param(
            "unrecognized arguments: --max-model-length 5",
            ("--max-model-length", "5"),
            "Did you mean --max-model-len?",
            id="nearest",
        ),
        pytest.param(
            "unrecognized arguments: --max-model-length=5",
            ("--max_model_length=5",),
            "Did you mean --max-model-len?",
            id="underscores-and-an-equals-sign",
        ),
        pytest.param(
            "unrecognized arguments: --model-name x",
            ("--model_name", "x"),
            "vLLM's is --served-model-name",
            id="of-kserves-own-server",
        ),
        pytest.param(
            "unrecognized arguments: --disable-log-requests",
            ("--disable-log-requests",),
            "requests are logged only where --enable-log-requests is given",
            id="removed",
        ),
        pytest.param(
            "unrecognized arguments: True",
            ("--trust_remote_code", "True"),
            "--trust-remote-code takes no value: leave 'True' out.",
            id="flag-with-a-value",
        ),
        pytest.param(
            "argument --dtype: invalid choice: 'x' (choose from 'auto', 'half')",
            ("--dtype", "x"),
            "choose from 'auto', 'half'",
            id="vllms-own-words-say-it",
        ),
    ],
)
def test_a_refusal_has_vllms_words_and_the_way_out(words: str, given: tuple[str, ...], hint: str) -> None:
    line = refused(words, *given)
    assert words in line
    assert hint in line


def test_a_refusal_shows_no_secret() -> None:
    line = refused("argument --dtype: invalid choice: 's3cret'", "--api-key", "s3cret", "--dtype", "s3cret")
    assert "s3cret" not in line


def test_a_refusal_has_a_bound() -> None:
    assert len(refused("x" * 100_000)) < 2_000


def interpreter_that(does: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


ACCEPTS = """echo '{"refused": null, "options": {}, "config": null}'"""


async def test_what_vllm_has_accepted_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ("vllm", "serve", str(tmp_path), "--dtype", "half")
    interpreter_that(f"echo asked >> {tmp_path}/log; {ACCEPTS}", tmp_path, monkeypatch)
    for _ in range(2):
        await check_with_vllm(argv, argv[3:], {}, "0.32.0", tmp_path / "cache")
    assert (tmp_path / "log").read_text() == "asked\n"
    await check_with_vllm(argv, argv[3:], {}, "0.32.1", tmp_path / "cache")
    (tmp_path / "config.json").write_text("{}")
    await check_with_vllm(argv, argv[3:], {}, "0.32.1", tmp_path / "cache")
    assert (tmp_path / "log").read_text() == "asked\n" * 3


async def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter_that(ACCEPTS, tmp_path, monkeypatch)
    await check_with_vllm(("vllm", "serve", "m"), (), {}, "0.32.0", tmp_path / "python" / "cache")


@pytest.mark.parametrize(
    ("does", "word"),
    [
        pytest.param("echo no vllm here >&2; exit 1", "could not be asked (no vllm here)", id="broken"),
        pytest.param("exec sleep 60", "has not answered within", id="silent"),
    ],
)
async def test_a_parser_that_cannot_be_asked_is_no_verdict(
    does: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    interpreter_that(does, tmp_path, monkeypatch)
    async with asyncio.timeout(10):
        assert await ask(("m",), {"PATH": "/usr/bin:/bin"}, timeout=0.5) is None
    assert word in caplog.text


async def test_a_configuration_that_is_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(*_: object, **__: object) -> Answer:
        return Answer(None, {}, "Please pass trust_remote_code=True")

    monkeypatch.setattr(parser, "ask", answer)
    with pytest.raises(MultinodeError, match="add --trust-remote-code") as found:
        await check_with_vllm(("vllm", "serve", "m"), (), {}, "0.32.0", tmp_path)
    assert found.value.code is ExitCode.MODEL_CONFIG
