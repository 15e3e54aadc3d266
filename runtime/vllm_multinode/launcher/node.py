"""What head and worker have in common: signals, background tasks, the engine's end, reading ahead."""

import asyncio
import dataclasses
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from vllm_multinode.checkpoint.model_directory import Model, read_model
from vllm_multinode.checkpoint.stages import shards_of_stage
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import EXECUTORS
from vllm_multinode.engines.vllm import vllm
from vllm_multinode.launcher.addresses import api_host, own_ray_address
from vllm_multinode.launcher.arguments import last_value
from vllm_multinode.launcher.baseline import baseline
from vllm_multinode.launcher.commands.parser import check_with_vllm
from vllm_multinode.launcher.connections import Connections
from vllm_multinode.launcher.deaths import SCAN, stopped
from vllm_multinode.launcher.fetching import await_model
from vllm_multinode.launcher.http import listen
from vllm_multinode.launcher.identity import installed_versions
from vllm_multinode.launcher.leftovers import clean_leftovers, temporary_folders
from vllm_multinode.launcher.masking import redacted, secrets_in
from vllm_multinode.launcher.messages import Loading, ProcessUsage
from vllm_multinode.launcher.network import own_address
from vllm_multinode.launcher.plan import AcceleratorKind, Process
from vllm_multinode.launcher.processes import Engine, die_with_parent, process_environment
from vllm_multinode.launcher.programs import own_vllm
from vllm_multinode.launcher.readahead import ReadAhead
from vllm_multinode.launcher.reaper import Reaper
from vllm_multinode.launcher.recovery import Cause, Incident
from vllm_multinode.launcher.settings import Settings, Sizes, heartbeat_interval
from vllm_multinode.launcher.shared_memory import clean_shared_memory
from vllm_multinode.launcher.sizes import stages_of_node
from vllm_multinode.launcher.stacks import write_stacks
from vllm_multinode.launcher.states import State, Status
from vllm_multinode.launcher.tls import supervisors_tls
from vllm_multinode.launcher.usage import LoadingProgress, processes
from vllm_multinode.launcher.warm import Warm, refusal
from vllm_multinode.launcher.watchdog import EngineApi

log = logging.getLogger(__name__)

_SHORT_TOKEN = 16


class Supervision:
    """One node's supervisor; `Head` and `Worker` say what it does.

    Args:
        settings: of this pod.
        environment: of this process, which preflight may complete.
    """

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self.settings = settings
        self.environment = dict(environment)
        self.unset = own_ray_address(self.environment)
        secrets = secrets_in(settings.arguments)
        self.hide: Callable[[str], str] = partial(redacted, secrets=secrets)
        self.status = Status(hide=self.hide)
        self.reaper = Reaper()
        self.engine: Engine | None = None
        self.loading: Loading | None = None
        self.processes: tuple[ProcessUsage, ...] = ()
        self.warm: Warm | None = None
        self._cold = "nothing is imported yet"
        self._baseline = baseline(environment, settings.pod_name)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._bug: BaseException | None = None
        self._ahead: ReadAhead | None = None
        sizes = settings.sizes
        self.connections = Connections(places=sizes.nodes if sizes and settings.role == "head" else 1)
        self._listen_to_signals()
        self._say_if_unguarded()
        self.__post_init__()

    def __post_init__(self) -> None:
        """What a role adds."""

    def _say_if_unguarded(self) -> None:
        if self.settings.token is None:
            log.warning(
                "no token: whoever reaches port %d can join this group, and whoever reaches Ray's ports "
                "can run programs here; set %s",
                self.settings.ports.supervisor,
                env.TOKEN_FILE,
            )
        elif len(self.settings.token) < _SHORT_TOKEN:
            log.warning("the token in %s is short and can be guessed; use 32 random bytes", env.TOKEN_FILE)

    async def listen(self, app: web.Application) -> Callable[[], Awaitable[None]]:
        """Serve probes, and on the head the group, on this pod's own addresses; returns what ends it."""
        address = own_address(self.settings.pod_ip)
        return await listen(app, address, self.settings.ports.supervisor, self.connections)

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        self.reaper.start(loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, number)

    def _asked_to_stop(self, number: int) -> None:
        log.info("%s: stopping", signal.Signals(number).name)
        self._stop.set()

    @staticmethod
    def now() -> float:
        """The loop's clock, seconds."""
        return asyncio.get_running_loop().time()

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run until done or until the supervisor ends, which a failure brings about."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._background_ended)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._bug = error
            self._stop.set()

    def fail(self, error: MultinodeError) -> None:
        """End the supervisor because of what a task has found."""
        self._bug = error
        self._stop.set()

    async def await_model(self) -> None:
        """Wait while the model is fetched, as long as the settings allow."""
        limit = self.settings.timings.model
        await await_model(self.settings.model_dir, self.status, self._stop, limit)

    async def ask_vllm(self, processes: tuple[Process, ...], version: str) -> None:
        """Have vLLM's parser look at what will be started here, where that is this interpreter's own vLLM.

        Raises:
            MultinodeError: it refuses the arguments, or the model's configuration is code.
        """
        for process in processes:
            environment = process_environment(process, self.environment, self.unset)
            if process.name != "vllm":
                continue
            if own_vllm(environment):
                cache = cache_folder(environment)
                given = self.settings.arguments
                await check_with_vllm(process.argv, given, environment, version, cache, self.warm)
            else:
                log.info("vllm is not this interpreter's own: its parser is not asked beforehand")

    def warm_up(self, processes: tuple[Process, ...], accelerator: AcceleratorKind) -> None:
        """Import vLLM in a process that this node's engines are forked from, where that is safe.

        Args:
            processes: that will be started here; `vllm` among them says in which environment.
            accelerator: of this node.
        """
        process = next((one for one in processes if one.name == "vllm"), None)
        if not self.settings.warm_restart:
            self._cold = f"{env.WARM_RESTART} is false"
        elif process is None:
            self._cold = "Ray's raylet starts this node's share of the engine"
        elif not own_vllm(self.environment):
            self._cold = "vllm is not this interpreter's own"
        elif not (why := refusal(accelerator)):
            environment = process_environment(process, self.environment, self.unset)
            ray = EXECUTORS[self.settings.executor].needs_ray
            executor = vllm(installed_versions().vllm).ray_actor_module if ray else ""
            self.warm = Warm(accelerator, environment, self.reaper, before=die_with_parent, executor=executor)
            self.warm.start()
            return
        else:
            self._cold = why
        log.info("every start imports vLLM: %s", self._cold)

    async def end_background(self) -> None:
        """Cancel what runs in the background, stop reading ahead, and end the warm process."""
        self.stop_reading_ahead()
        if self.warm is not None:
            self.warm.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` until it ends or a signal asks to stop; its exceptions are raised."""
        task = asyncio.create_task(work)
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            self.raise_bug()
        finally:
            for one in (task, stop):
                one.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    def raise_bug(self) -> None:
        """Raise what ended a background task."""
        if self._bug is not None:
            raise self._bug

    @property
    def stopping(self) -> bool:
        """A signal has asked to stop."""
        return self._stop.is_set()

    async def kill_engine(self, *, stacks: bool = False) -> None:
        """End every process of the engine and remove what it left in /dev/shm; says so if one survives.

        Args:
            stacks: write before what its processes do.
        """
        engine, self.engine = self.engine, None
        if engine is None:
            return
        if stacks:
            await write_stacks()
        try:
            await engine.kill()
        except TimeoutError:
            log.exception("processes of the engine survive SIGKILL; a driver may hold them")
        # Even an engine that stops cleanly leaves segments, and the next one finds less room.
        await self.clean_up()

    async def clean_up(self) -> None:
        """Remove what this pod's engines have left in /dev/shm and among the temporary files."""
        await asyncio.to_thread(clean_shared_memory, self._baseline.shared_memory)
        folders = temporary_folders(self.environment)
        await asyncio.to_thread(clean_leftovers, self._baseline.temporary, folders)

    async def follow_engine(self, model: Model) -> None:
        """Look at the engine's processes at every heartbeat, once a second at most, until cancelled."""
        files = [model.path / shard.name for shard in model.shards]
        seen, progress = None, LoadingProgress(files)
        while True:
            engine = self.engine
            if engine is not seen:
                seen, progress = engine, LoadingProgress(files)
            if engine is None:
                self.loading, self.processes = None, ()
            else:
                started = {one.pid: one.name for one in engine.running}
                found = await asyncio.to_thread(processes, started)
                starting = self.status.state is State.STARTING
                self.loading = await asyncio.to_thread(progress.look, found) if starting else None
                self.processes = tuple(found.values())
            await asyncio.sleep(max(SCAN, heartbeat_interval(self.settings.timings.heartbeat)))

    async def check_model_again(self) -> None:
        """Before an engine starts once more: the files may have changed while they were served.

        Raises:
            MultinodeError: they are not whole any more; an engine would find out after its imports.
        """
        await asyncio.to_thread(read_model, self.settings.model_dir, meant=self.settings.model_source)

    def read_ahead(self, model: Model, sizes: Sizes, rank: int) -> None:
        """Read this node's share of the weights into the page cache while others are awaited."""
        if not self.settings.read_ahead:
            return
        stages = stages_of_node(sizes, rank)
        files = {
            shard.name: model.path / shard.name
            for stage in stages
            for shard in shards_of_stage(model, stage, sizes.pipeline_parallel)
        }
        self._ahead = ReadAhead(tuple(files.values()))
        self._ahead.start()

    def stop_reading_ahead(self) -> None:
        """The engine reads now; both at once would only compete."""
        if self._ahead is not None:
            self._ahead.stop()

    def _reading(self) -> dict[str, Any] | None:
        return dataclasses.asdict(self._ahead.progress) if self._ahead is not None else None

    def _warmth(self) -> str:
        """Whether the next start finds vLLM imported, in words."""
        if self.warm is None:
            return f"off: {self._cold}"
        if self.warm.off:
            return f"off: {self.warm.off}"
        return "ready" if self.warm.ready else "importing"

    def labelled(self) -> Mapping[str, tuple[str, Mapping[str, float]]]:
        """Numbers with a label, for `/metrics`: name -> label, and value by what the label says."""
        return {}

    def common_numbers(self) -> dict[str, float]:
        """The metrics that both roles have."""
        return {
            "authenticated": float(self.settings.token is not None),
            "connections_ended_total": float(self.connections.ended_total),
        }

    def description(self, epoch: int, rank: int | None) -> dict[str, Any]:
        """The part of `/status` that both roles have."""
        return {
            "role": self.settings.role,
            "pod": self.settings.pod_name,
            "state": self.status.state.value,
            "reason": self.status.reason,
            "since": self.status.since,
            "epoch": epoch,
            "rank": rank,
            "executor": self.settings.executor,
            "authentication": "token" if self.settings.token is not None else "none",
            "read_ahead": self._reading(),
            **engine_described(self.loading, self.processes),
            "warm": self._warmth(),
            "history": [
                {"at": change.at, "state": change.state.value, "reason": change.reason}
                for change in self.status.history
            ],
        }


def engine_described(loading: Loading | None, used: Sequence[ProcessUsage]) -> dict[str, Any]:
    """The part of `/status` that says what a node's engine does."""
    return {
        "loading": loading.model_dump() if loading is not None else None,
        "processes": [one.model_dump() for one in used],
    }


async def frozen(timeout: float, pod: str) -> Incident:
    """Return once a process of the engine on this node has been stopped by a signal for `timeout` seconds."""
    return Incident(Cause.HUNG, f"{pod}: {await stopped(timeout)}")


def cache_folder(environment: Mapping[str, str]) -> Path:
    """A folder of ours beside vLLM's own cache."""
    cache = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", os.sep)) / ".cache")
    return Path(environment.get("VLLM_CACHE_ROOT") or cache / "vllm") / "vllm-multinode"


def engine_api(settings: Settings, environment: Mapping[str, str]) -> EngineApi:
    """vLLM's API on this head, as its own arguments set it up."""
    return EngineApi(
        settings.ports.api,
        tls=supervisors_tls(settings),
        api_key=last_value(settings.arguments, "--api-key") or environment.get(env.API_KEY),
        model=settings.model_name or str(settings.model_dir),
        host=api_host(settings.arguments, own_address(settings.pod_ip)),
    )
