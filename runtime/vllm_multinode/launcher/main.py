"""The process behind `multinode head` and `multinode worker`."""

import asyncio
import contextlib
import logging
import os
import resource
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.kserve import Role
from vllm_multinode.contract.text import shown
from vllm_multinode.launcher.addresses import service_links
from vllm_multinode.launcher.head import Head
from vllm_multinode.launcher.logs import log_to_stderr
from vllm_multinode.launcher.masking import redacted, secrets_in
from vllm_multinode.launcher.processes import adopt_orphans
from vllm_multinode.launcher.scheduling import ask_for_short_slices
from vllm_multinode.launcher.settings import Settings, read_settings
from vllm_multinode.launcher.worker import Worker

log = logging.getLogger(__name__)

_FILES = 65536


def main(role: Role, arguments: tuple[str, ...]) -> ExitCode:
    """Run one node until it is asked to stop or gives up; why goes to stderr and to the termination log."""
    links = service_links(os.environ)
    environment = {name: value for name, value in os.environ.items() if name not in links}
    sys.excepthook = _tell_of_a_bug
    try:
        settings = read_settings(role, environment, arguments, socket.gethostname())
        log_to_stderr(settings.log_level.upper(), settings.pod_name, settings.log_format)
        if links:
            log.info("left out, because Kubernetes set them for a Service of that name: %s", ", ".join(links))
        adopt_orphans()
        _raise_file_limit()
        ask_for_short_slices()
        asyncio.run(_run(settings, environment))
    except MultinodeError as error:
        return _give_up(error, environment, arguments)
    return ExitCode.OK


async def _run(settings: Settings, environment: Mapping[str, str]) -> None:
    supervisor = Head if settings.role == "head" else Worker
    await supervisor(settings, environment).run()


def _raise_file_limit() -> None:
    """A head holds a connection for each worker; the soft limit is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def _give_up(error: MultinodeError, environment: Mapping[str, str], arguments: tuple[str, ...]) -> ExitCode:
    line = redacted(f"multinode: {error} (exit code {error.code.value})", secrets_in(arguments))
    sys.stderr.write(f"{line}\n")
    _write_termination_log(line, environment)
    return error.code


def _tell_of_a_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A mistake of ours keeps its traceback, and Kubernetes is told that it was one."""
    if kind is not KeyboardInterrupt:
        line = f"multinode: a bug in vllm-multinode: {kind.__name__}: {error}"
        _write_termination_log(shown(line), os.environ)
    sys.__excepthook__(kind, error, trace)


def _write_termination_log(line: str, environment: Mapping[str, str]) -> None:
    named = environment.get(env.TERMINATION_LOG, "").strip()
    log = Path(named or "/dev/termination-log")
    # Kubernetes makes the file; elsewhere it may be absent, or not ours to write.
    with contextlib.suppress(OSError):
        if named or log.exists():
            log.write_text(f"{line}\n")
