"""vLLM's arguments as its own parser sees them, before any node starts an engine."""

import asyncio
import concurrent.futures
import contextlib
import difflib
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import IO, Any, Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.vllm import removed
from vllm_multinode.launcher.masking import masked, redacted, secrets_in
from vllm_multinode.launcher.warm import Warm

log = logging.getLogger(__name__)

PARSER_TIMEOUT: Final = 180.0
"""Seconds for vLLM's imports on a busy machine; without an answer the engine itself will tell."""
_SOURCE: Final = "parser_process.py"
_WORDS: Final = 600
_SMALL: Final = 1 << 20
_UNKNOWN: Final = "unrecognized arguments:"


@dataclass(frozen=True)
class Answer:
    """What vLLM's parser says.

    Attributes:
        refused: its words, or None.
        options: every option that it knows, and whether it takes a value.
        config: why the model's configuration cannot be read without --trust-remote-code, or None.
    """

    refused: str | None
    options: Mapping[str, bool]
    config: str | None


def cache_folder(environment: Mapping[str, str]) -> Path:
    """A folder of ours beside vLLM's own cache."""
    cache = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", os.sep)) / ".cache")
    return Path(environment.get("VLLM_CACHE_ROOT") or cache / "vllm") / "vllm-multinode"


async def check_with_vllm(
    argv: Sequence[str],
    given: Sequence[str],
    environment: Mapping[str, str],
    version: str,
    cache: Path,
    warm: Warm | None = None,
) -> None:
    """Ask vLLM's parser about a command line; what it has accepted before is not asked about again.

    Args:
        argv: of the engine, from `vllm` on.
        given: those of the arguments that the user wrote.
        environment: of the engine.
        version: of vLLM.
        cache: a directory that may outlive this process; need not be writable.
        warm: a process that has imported vLLM already.

    Raises:
        MultinodeError: ARGUMENTS or MODEL_CONFIG, with vLLM's words.
    """
    accepted = cache / f"accepted-{_key(argv, version)}"
    if accepted.exists():
        return
    answer = await ask(argv[2:], environment, warm=warm)
    if answer is None:
        return
    if answer.refused is not None:
        raise refusal(answer, argv, given, version)
    if answer.config is not None:
        raise MultinodeError(
            ExitCode.MODEL_CONFIG,
            f"the model's configuration is code, which vLLM {version} runs only when told to trust it: "
            f"{_one_line(answer.config)}",
            where="config.json",
            hint="Read that code; then add --trust-remote-code to the arguments.",
        )
    _remember(accepted)


def _remember(accepted: Path) -> None:
    try:
        accepted.parent.mkdir(parents=True, exist_ok=True)
        accepted.touch()
    except OSError as error:
        log.debug("%s cannot be written: %s", accepted, error.strerror)


async def ask(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    timeout: float = PARSER_TIMEOUT,
    python: str | None = None,
    warm: Warm | None = None,
) -> Answer | None:
    """Ask vLLM's parser; None where it cannot be asked, which is no verdict on the arguments.

    Args:
        arguments: of `vllm serve`, the model first.
        environment: of the engine.
        timeout: seconds, after which the question is dropped.
        python: whose vLLM is asked, this interpreter's by default.
        warm: a process that has imported vLLM already.
    """
    process = await _fork(warm, arguments, environment) if warm is not None else None
    process = process or _start(python or sys.executable, arguments, environment)
    # The supervisor's reaper may collect the child: only its output is waited for.
    reading = asyncio.create_task(asyncio.to_thread(process.read))
    try:
        async with asyncio.timeout(timeout):
            answer, said = await asyncio.shield(reading)
    except TimeoutError:
        log.warning("vLLM's parser has not answered within %.0f s; its arguments are not checked", timeout)
        return None
    finally:
        process.kill()
        await asyncio.gather(reading, return_exceptions=True)
    try:
        parsed: dict[str, Any] = json.loads(answer)
    except ValueError:
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        log.warning("vLLM's parser could not be asked (%s); its arguments are not checked", last)
        return None
    return Answer(**parsed)


@dataclass(frozen=True)
class _Asked:
    """The process that answers.

    Attributes:
        read: its standard output and standard error, to their ends.
        kill: end it, if it has not ended.
    """

    read: Callable[[], tuple[bytes, bytes]]
    kill: Callable[[], None]


async def _fork(warm: Warm, arguments: Sequence[str], environment: Mapping[str, str]) -> _Asked | None:
    with contextlib.ExitStack() as kept, contextlib.ExitStack() as ends:
        pipes, outputs = [], []
        for _ in range(2):
            read, write = os.pipe()
            pipes.append(kept.enter_context(os.fdopen(read, "rb")))
            outputs.append(write)
            ends.callback(os.close, write)
        forked = await warm.fork(("vllm", *arguments), environment, _source(), *outputs)
        if forked is None:
            return None
        # The supervisor's reaper collects it: its number may be another's by the time that it is killed.
        descriptor = os.pidfd_open(forked.pid)
        forked.release()
        return _Asked(partial(_read, pipes, kept.pop_all()), partial(_kill, descriptor))


def _read(pipes: Sequence[IO[bytes]], kept: contextlib.ExitStack) -> tuple[bytes, bytes]:
    with kept, concurrent.futures.ThreadPoolExecutor(1) as pool:
        errors = pool.submit(pipes[1].read)
        return pipes[0].read(), errors.result()


def _kill(descriptor: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    os.close(descriptor)


def _start(python: str, arguments: Sequence[str], environment: Mapping[str, str]) -> _Asked:
    popen = subprocess.Popen(
        [python, "-c", _source(), *arguments],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    return _Asked(popen.communicate, popen.kill)


def _source() -> str:
    return resources.files(__package__).joinpath(_SOURCE).read_text(encoding="utf-8")


def refusal(answer: Answer, argv: Sequence[str], given: Sequence[str], version: str) -> MultinodeError:
    """Return vLLM's refusal in a line, with the nearest right option.

    Args:
        answer: which rejects.
        argv: of the engine.
        given: those of the arguments that the user wrote.
        version: of vLLM.
    """
    words = redacted(answer.refused or "", secrets_in(argv))
    return MultinodeError(
        ExitCode.ARGUMENTS,
        f"vLLM {version} rejects its arguments: {_one_line(words)}",
        where="arguments",
        hint=" ".join(dict.fromkeys(_hints(answer, given, version)))
        or "Correct the arguments of the InferenceService or the ServingRuntime.",
    )


def _hints(answer: Answer, given: Sequence[str], version: str) -> list[str]:
    """One for each argument that vLLM does not know."""
    _, found, unknown = (answer.refused or "").partition(_UNKNOWN)
    if not found:
        return []
    # The parser has turned underscores into dashes already.
    words = {long_name(word) for word in unknown.split()}
    hints = []
    for position, argument in enumerate(given):
        name = long_name(argument)
        if name not in words:
            continue
        if argument.startswith("-"):
            hints.append(_instead(name, answer.options, version))
        elif position > 0 and answer.options.get(flag := long_name(given[position - 1])) is False:
            hints.append(f"{flag} takes no value: leave '{argument}' out.")
    return hints


def _instead(name: str, options: Mapping[str, bool], version: str) -> str:
    if advice := removed(name, version):
        return advice
    near = difflib.get_close_matches(name, options, n=1)
    return f"Did you mean {near[0]}?" if near else f"Leave {name} out."


def long_name(argument: str) -> str:
    """Return an option's name with dashes, without its value."""
    name = argument.partition("=")[0].partition(".")[0]
    return name.replace("_", "-") if name.startswith("--") else name


def _one_line(words: str) -> str:
    text = " ".join(words.split())
    if len(text) > _WORDS:
        return f"{text[:_WORDS]}…"
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _key(argv: Sequence[str], version: str) -> str:
    """Of what the answer depends on: the command line without its secrets, and the files that it names."""
    digest = hashlib.sha256(f"{version}\n{masked(argv)}\n".encode())
    for argument in argv:
        for file in (Path(argument), Path(argument, "config.json")):
            if argument.startswith(os.sep) and file.is_file():
                state = file.stat()
                digest.update(f"{file} {state.st_size}\n".encode())
                small = state.st_size <= _SMALL
                digest.update(file.read_bytes() if small else str(state.st_mtime_ns).encode())
    return digest.hexdigest()[:32]
