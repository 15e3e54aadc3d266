"""What head and worker have in common: the engine's end, its warm process, reading ahead, `/status`."""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_multinode.checkpoint.model_directory import Model, read_model
from vllm_multinode.contract import env
from vllm_multinode.launcher.addresses import own_ray_address
from vllm_multinode.launcher.baseline import baseline
from vllm_multinode.launcher.commands.parser import cache_folder, check_with_vllm
from vllm_multinode.launcher.connections import Connections
from vllm_multinode.launcher.deaths import SCAN
from vllm_multinode.launcher.description import engine_described
from vllm_multinode.launcher.fetching import await_model
from vllm_multinode.launcher.http import listen
from vllm_multinode.launcher.leftovers import clean_leftovers, temporary_folders
from vllm_multinode.launcher.lifetime import Lifetime
from vllm_multinode.launcher.masking import redacted, secrets_in
from vllm_multinode.launcher.network import own_address
from vllm_multinode.launcher.plan import AcceleratorKind, Process
from vllm_multinode.launcher.processes import Engine, process_environment
from vllm_multinode.launcher.programs import own_vllm
from vllm_multinode.launcher.readahead import ReadAhead, files_of_node
from vllm_multinode.launcher.reaper import Reaper
from vllm_multinode.launcher.settings import Settings, Sizes, heartbeat_interval
from vllm_multinode.launcher.shared_memory import clean_shared_memory
from vllm_multinode.launcher.stacks import write_stacks
from vllm_multinode.launcher.states import State, Status
from vllm_multinode.launcher.usage import LoadingProgress, processes
from vllm_multinode.launcher.warm import Warm
from vllm_multinode.launcher.warming import warm_process, warmth

if TYPE_CHECKING:
    from vllm_multinode.launcher.messages import Loading, ProcessUsage

log = logging.getLogger(__name__)

_SHORT_TOKEN = 16


class Supervision(Lifetime):
    """One node's supervisor; `Head` and `Worker` say what it does.

    Args:
        settings: of this pod.
        environment: of this process, which preflight may complete.
    """

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        super().__init__()
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
        self._ahead: ReadAhead | None = None
        sizes = settings.sizes
        self.connections = Connections(places=sizes.nodes if sizes and settings.role == "head" else 1)
        self.reaper.start(asyncio.get_running_loop())
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

    async def await_model(self) -> None:
        """Wait while the model is fetched, as long as the settings allow."""
        limit = self.settings.timings.model
        await await_model(self.settings.model_dir, self.status, self._stop, limit)

    async def ask_vllm(self, processes: tuple[Process, ...], version: str) -> None:
        """Have vLLM's parser look at what will be started here, where that is this interpreter's own vLLM.

        Raises:
            MultinodeError: it rejects the arguments, or the model's configuration is code.
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
                log.info("vllm belongs to another Python: its arguments are not checked first")

    def warm_up(self, processes: tuple[Process, ...], accelerator: AcceleratorKind) -> None:
        """Import vLLM in a process that this node's engines are forked from, where that is safe.

        Args:
            processes: that will be started here; `vllm` among them says in which environment.
            accelerator: of this node.
        """
        started = warm_process(
            self.settings, self.environment, self.unset, self.reaper, processes, accelerator
        )
        if isinstance(started, Warm):
            self.warm = started
        else:
            self._cold = started
            log.info("every start imports vLLM: %s", started)

    async def end_background(self) -> None:
        """Cancel what runs in the background, stop reading ahead, and end the warm process."""
        self.stop_reading_ahead()
        if self.warm is not None:
            self.warm.close()
        await super().end_background()

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
        self._ahead = ReadAhead(files_of_node(model, sizes, rank))
        self._ahead.start()

    def stop_reading_ahead(self) -> None:
        """The engine reads now; both at once would only compete."""
        if self._ahead is not None:
            self._ahead.stop()

    def _reading(self) -> dict[str, Any] | None:
        return dataclasses.asdict(self._ahead.progress) if self._ahead is not None else None

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
            "warm": warmth(self.warm, self._cold),
            "history": [
                {"at": change.at, "state": change.state.value, "reason": change.reason}
                for change in self.status.history
            ],
        }
