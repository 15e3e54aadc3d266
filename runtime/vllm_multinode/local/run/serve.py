"""`multinode local run`: an InferenceService's pods on this machine, shown until they are told to end."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console

from vllm_multinode.contract import ports
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.local.run import isvc
from vllm_multinode.local.run.display import Display, Lines, LiveTable
from vllm_multinode.local.run.foreground import Foreground
from vllm_multinode.local.run.isvc import LocalService
from vllm_multinode.local.run.localrun import Entrance, LocalRun, listen, url
from vllm_multinode.local.rundir import RunDirectory, RunInfo, Runs
from vllm_multinode.local.world import refusals
from vllm_multinode.local.world.protocol import Families

_NEEDED: Final = ("pyroute2", "vllm", "ray")


class RunOptions(Frozen):
    """What a run is started with, besides what it runs."""

    local: LocalService
    run: str | None = None
    port: int | None = None
    """On this machine, of the head's API; where None, 8080 or a free one."""
    supervisor_port: int = 0
    logs: Path | None = None
    fail_fast: bool = True
    families: Families = "ipv4"


def serve(options: RunOptions, started: Callable[[RunDirectory], None] = lambda _: None) -> None:
    """Run it until it is ended, by a signal or by `multinode local stop`.

    Args:
        options: what to run.
        started: called once when the nodes are up, before anything is shown.

    Raises:
        MultinodeError: it cannot be run here, or a node refused its settings.
    """
    refusals.require_linux()
    refusals.require_packages(_NEEDED)
    if options.families != "ipv4":
        refusals.require_ipv6("--ip6" if options.families == "ipv6" else "--dual-stack")
    pods = isvc.pods(options.local, isvc.cache_directory())
    if options.logs is not None:
        options.logs.mkdir(parents=True, exist_ok=True)
    api = listen(options.port, default=ports.API)
    supervisor = listen(options.supervisor_port)
    name = options.local.service.name
    api_url = url(api, "https" if options.local.speaks_tls else "http")
    supervisor_url = url(supervisor)
    # Until the run has handlers of its own, every signal unwinds as Ctrl-C does, so that nothing is left.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    held = Runs.of_this_user().create(options.run, name)
    logs = (options.logs or held.directory.logs).resolve()
    info = RunInfo(
        run=held.directory.name,
        service=name,
        runner=os.getpid(),
        url=api_url,
        supervisor_url=supervisor_url,
        logs=str(logs),
        started=time.time(),
        model=str(options.local.model.resolve()),
        asks_for_key=options.local.asks_for_key,
    )
    held.directory.write_info(info)
    entrances = (Entrance(api, "head", ports.API), Entrance(supervisor, "head", ports.SUPERVISOR))
    try:
        with LocalRun.start(held, pods, entrances, logs, families=options.families) as run:
            started(held.directory)
            _follow(run, options, info)
    except KeyboardInterrupt:
        # Before or after the run had handlers of its own: it has been ended, as it was asked to.
        return


def _follow(run: LocalRun, options: RunOptions, info: RunInfo) -> None:
    with _display() as display:
        display.say(f"Run {run.directory.name} is up; its head's supervisor is at {info.supervisor_url}")
        if options.port is None and not info.url.endswith(f":{ports.API}"):
            display.say(f"Port {ports.API} is taken; the API will be at {info.url} instead.")
        words = f"Serving at {info.url}. Try:\n  {info.request}"
        asyncio.run(Foreground(run, display, words, fail_fast=options.fail_fast).stay())


def _display() -> Display:
    if sys.stdout.isatty():
        return LiveTable(Console())
    return Lines(_write_line)


def _write_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
