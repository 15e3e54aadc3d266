"""`multinode worker`: finds its head, runs its share of the engine, and starts over when either is gone."""

import asyncio
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from vllm_multinode.checkpoint.stages import check_parallel
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import EXECUTORS
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.launcher.addresses import without_own_proxy
from vllm_multinode.launcher.arguments import without_model
from vllm_multinode.launcher.commands import build
from vllm_multinode.launcher.commands.common import node_defaults
from vllm_multinode.launcher.deaths import stopped
from vllm_multinode.launcher.head_search import HeadSearch
from vllm_multinode.launcher.http import application
from vllm_multinode.launcher.link import Link, LinkEndedError, connected
from vllm_multinode.launcher.messages import (
    Beat,
    Claim,
    EngineExited,
    EngineStopped,
    GivesUp,
    Hello,
    Leaving,
    Probe,
    Refused,
    Report,
    Start,
    Stop,
    Welcome,
    WireMeasure,
    WireOpen,
)
from vllm_multinode.launcher.node import Supervision
from vllm_multinode.launcher.plan import Process
from vllm_multinode.launcher.preflight import Readiness, preflight
from vllm_multinode.launcher.processes import Engine
from vllm_multinode.launcher.settings import Sizes, heartbeat_interval
from vllm_multinode.launcher.states import State
from vllm_multinode.launcher.wire import be_measured, measure_next

log = logging.getLogger(__name__)

_RETRY_FIRST = 0.1
_RETRY_LONGEST = 1.0
# Seconds that the head has after the drain to end what is left with an error.
_RELEASE = 3.0


class _RefusedByHeadError(MultinodeError):
    """The head knows already what is wrong: it said so."""


class Worker(Supervision):
    """The supervisor of a worker pod."""

    def __post_init__(self) -> None:
        self.rank: int | None = None
        self.epoch = 0
        self.links = 0
        # Known to this process and its head: nobody else can take its place by its name.
        self._instance = secrets.token_hex(16)
        self._heartbeat = self.settings.timings.heartbeat
        self._readiness: Readiness | None = None
        self._link: Link | None = None
        self._search = HeadSearch(self.settings, self._join)
        self._released = asyncio.Event()
        self._watching: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Its group serves, as far as the last heartbeat told."""
        return self.status.state is State.SERVING and self._link is not None

    async def run(self) -> None:
        """Until stopped.

        Raises:
            MultinodeError: refused or given up; says why.
        """
        close = await self.listen(application(self))
        try:
            await self.await_model()
            readiness = await asyncio.to_thread(preflight, self.settings, self.environment)
            self._readiness = readiness
            self.environment = readiness.environment
            # A container of this pod that was killed could not do it.
            await self.clean_up()
            self._import_beforehand(readiness)
            self.in_background(self._ask_vllm(readiness))
            self.in_background(self.follow_engine(readiness.model))
            seeking = asyncio.create_task(self._seek())
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait((seeking, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not seeking.done():
                await self._leave()
            stopping.cancel()
            seeking.cancel()
            await asyncio.gather(seeking, return_exceptions=True)
            self.raise_failure()
            if not seeking.cancelled() and not self.stopping:
                seeking.result()
            self.status.set(State.STOPPED, "asked to stop")
        except MultinodeError as error:
            self.status.set(State.FAILED, str(error))
            raise
        finally:
            await self._stop_engine()
            await self.end_background()
            await close()

    def _import_beforehand(self, readiness: Readiness) -> None:
        """Before the head says what is started: neither rank nor sizes are in its environment."""
        node = readiness.node(0, Sizes(tensor_parallel=1, pipeline_parallel=1, nodes=1))
        accelerator = readiness.identity.accelerator
        process = Process(name="vllm", argv=("vllm",), defaults=node_defaults(accelerator, node))
        # With Ray no vLLM is started here: a raylet is, which starts its workers itself.
        ray = EXECUTORS[self.settings.executor].needs_ray
        self.warm_up(() if ray else (process,), accelerator)

    async def _ask_vllm(self, readiness: Readiness) -> None:
        """What the user wrote for this worker; the rest is the head's."""
        mine = self.settings.arguments
        if mine and not EXECUTORS[self.settings.executor].needs_ray:
            argv = ("vllm", "serve", str(self.settings.model_dir), *without_model(mine))
            try:
                await self.ask_vllm((Process(name="vllm", argv=argv),), readiness.identity.versions.vllm)
            except MultinodeError as error:
                await self._send(GivesUp(epoch=self.epoch, reason=self.hide(str(error))))
                raise

    async def _seek(self) -> None:
        """Join the head, and again whenever the link ends; gives up after MULTINODE_HEAD_TIMEOUT alone."""
        alone_since = self.now()
        wait = _RETRY_FIRST
        while True:
            links = self.links
            reason = await self._search.round()
            if self.links > links:
                alone_since, wait = self.now(), _RETRY_FIRST
            alone = self.now() - alone_since
            if alone > self.settings.timings.head:
                raise MultinodeError(
                    ExitCode.HEAD_UNREACHABLE,
                    f"no head for {alone:.0f} s: {reason}.",
                    where=env.HEAD_SVC,
                    hint="Look at the head pod's state and log, and at its Service.",
                )
            self.status.set(State.FORMING if not self.status.served else State.RECOVERING, reason)
            await asyncio.sleep(wait)
            wait = min(wait * 2, _RETRY_LONGEST)

    async def _join(self, address: str, port: int) -> None:
        claim = Claim(pod=self.settings.pod_name, group=self.settings.group)
        async with connected(address, port, self.settings.token, claim) as link:
            self._link = link
            self._search.proven()
            await self._send(self._hello())
            try:
                await self._follow(link)
            except MultinodeError as error:
                if not isinstance(error, _RefusedByHeadError):
                    await self._send(GivesUp(epoch=self.epoch, reason=self.hide(str(error))))
                raise
            finally:
                self._link = None
                # A head that is gone takes its engine with it: what is left of ours only holds memory.
                await self._stop_engine()
                self.rank = None

    def _hello(self) -> Hello:
        assert self._readiness is not None  # noqa: S101 - set before seeking
        identity = self._readiness.identity.model_copy(update={"instance": self._instance})
        return Hello(identity=identity, group=self.settings.group, sizes=self.settings.sizes)

    async def _follow(self, link: Link) -> None:
        """Do what the head says, until it falls silent."""
        beating = asyncio.create_task(self._beat())
        try:
            while True:
                await self._obey(await link.receive(self._heartbeat))
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            await self._send(Beat(epoch=self.epoch, state=self.status.state, reason=""))
            await asyncio.sleep(heartbeat_interval(self._heartbeat))

    async def _send(self, message: Frozen) -> None:
        if self._link is not None and not await self._link.send(message):
            log.debug("a message was not sent: the head is gone")

    async def _obey(self, said: object) -> None:
        if isinstance(said, Beat):
            self._mirror(said)
        elif isinstance(said, Welcome):
            self._welcomed(said)
        elif isinstance(said, Refused):
            if said.final:
                raise _RefusedByHeadError(said.code, said.what, where="rejected by the head", hint=said.hint)
            raise LinkEndedError(said.what)
        elif isinstance(said, Probe):
            await self._send(Report(sent=said.sent, loading=self.loading, processes=self.processes))
        elif isinstance(said, WireOpen):
            assert self._readiness is not None  # noqa: S101 - set before seeking
            self._watch(be_measured(self._readiness.identity.address, said, self._send))
        elif isinstance(said, WireMeasure):
            self._watch(measure_next(said, self._send))
        elif isinstance(said, Start):
            await self._start(said)
        elif isinstance(said, Stop):
            await self._stop_engine(stacks=said.stacks)
            self.status.set(State.RECOVERING, said.reason)
            await self._send(EngineStopped(epoch=said.epoch))
            self._released.set()

    def _mirror(self, beat: Beat) -> None:
        """A worker's state is its group's, but for what it knows better."""
        if self.stopping:
            return
        state = next((one for one in State if one == beat.state), State.FORMING)
        if state in (State.SERVING, State.STARTING) and self.engine is None:
            return
        self.status.set(state, beat.reason)

    def _welcomed(self, welcome: Welcome) -> None:
        assert self._readiness is not None  # noqa: S101 - set before seeking
        self.rank, self.epoch = welcome.rank, welcome.epoch
        # The head's, so that both sides give up at the same time.
        self._heartbeat = welcome.heartbeat_timeout
        self.links += 1
        log.info("joined head %s as rank %d of %d nodes", welcome.head, welcome.rank, welcome.sizes.nodes)
        sizes = welcome.sizes
        check_parallel(self._readiness.model, sizes.tensor_parallel, sizes.pipeline_parallel)
        self.status.set(State.FORMING, f"joined {welcome.head} as rank {welcome.rank}")
        self.read_ahead(self._readiness.model, sizes, welcome.rank)

    async def _start(self, start: Start) -> None:
        assert self._readiness is not None  # noqa: S101 - set before seeking
        if self.rank is None or (start.epoch <= self.epoch and self.engine is not None):
            log.warning("refused to start epoch %d: %d is newer", start.epoch, self.epoch)
            return
        await self._stop_engine()
        self.stop_reading_ahead()
        if self.epoch and self.status.served:
            await self.check_model_again()
        self.epoch = start.epoch
        self._released.clear()
        self.status.set(State.STARTING, f"epoch {start.epoch}")
        processes = build(start.plan, self._readiness.node(self.rank, start.plan.sizes))
        hosts = (*start.plan.members, self.settings.head_host or "")
        environment = without_own_proxy(self.environment, filter(None, hosts))
        engine = Engine(processes, environment, self.unset, self.reaper, self.warm)
        self.engine = engine
        engine.start()
        self._watch(self._report_end(engine, start.epoch))
        self._watch(self._report_frozen(start.epoch))

    def _watch(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _report_end(self, engine: Engine, epoch: int) -> None:
        reason = await asyncio.shield(engine.ended)
        log.error("the engine of epoch %d ended: %s", epoch, reason)
        await self._send(EngineExited(epoch=epoch, reason=reason))
        if engine.refused:
            error = MultinodeError(ExitCode.ARGUMENTS, f"{reason}.", where=self.settings.pod_name)
            await self._send(GivesUp(epoch=epoch, reason=self.hide(str(error))))
            self.fail(error)

    async def _report_frozen(self, epoch: int) -> None:
        await self._send(EngineExited(epoch=epoch, reason=await stopped(self._heartbeat)))

    async def _stop_engine(self, *, stacks: bool = False) -> None:
        for task in list(self._watching):
            task.cancel()
        await self.kill_engine(stacks=stacks)

    async def _leave(self) -> None:
        """After SIGTERM: the engine stays until the head has let running requests finish."""
        if self.engine is not None and self._link is not None:
            self._released.clear()
            self.status.set(State.DRAINING, "asked to stop")
            await self._send(Leaving(reason="asked to stop"))
            try:
                async with asyncio.timeout(self.settings.timings.drain + _RELEASE):
                    await self._released.wait()
            except TimeoutError:
                log.warning("the head did not release this worker in time")

    def describe(self) -> dict[str, Any]:
        """What `/status` answers; nothing secret is in it."""
        return self.description(epoch=self.epoch, rank=self.rank) | {"head": self.settings.head_host}

    def numbers(self) -> Mapping[str, float]:
        """For `/metrics`."""
        return self.common_numbers() | {
            "ready": float(self.ready),
            "epoch": float(self.epoch),
            "rank": float(self.rank if self.rank is not None else -1),
            "links_total": float(self.links),
        }
