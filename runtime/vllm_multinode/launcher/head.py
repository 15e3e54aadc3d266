"""`multinode head`: forms the group, runs its share of the engine, serves, heals."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.launcher import handshake
from vllm_multinode.launcher.addresses import without_own_proxy
from vllm_multinode.launcher.announcements import Announcements
from vllm_multinode.launcher.commands import build
from vllm_multinode.launcher.description import engine_described, members_described
from vllm_multinode.launcher.ending import Requests
from vllm_multinode.launcher.engine_api import EngineApi, engine_api
from vllm_multinode.launcher.forming import await_members, group_plan
from vllm_multinode.launcher.group import Group
from vllm_multinode.launcher.history import Incidents, file_of
from vllm_multinode.launcher.http import application
from vllm_multinode.launcher.identity import described
from vllm_multinode.launcher.incidents import end_of_answers, first_incident
from vllm_multinode.launcher.messages import Start
from vllm_multinode.launcher.node import Supervision
from vllm_multinode.launcher.plan import GroupPlan, Node
from vllm_multinode.launcher.preflight import Readiness, preflight
from vllm_multinode.launcher.processes import Engine
from vllm_multinode.launcher.programs import own_vllm
from vllm_multinode.launcher.recovery import Budget, Cause, Incident
from vllm_multinode.launcher.rendezvous import Rendezvous
from vllm_multinode.launcher.shared_arguments import for_workers, warn_of_secrets
from vllm_multinode.launcher.sizes import check_sizes
from vllm_multinode.launcher.states import State
from vllm_multinode.launcher.watchdog import watch

log = logging.getLogger(__name__)

_STOP_TIMEOUT = 15.0
# After SIGTERM the grace period has 15 seconds for the whole of the end.
_LAST_STOP_TIMEOUT = 10.0
_API_POLL = 0.1
# Seconds within which members count as lost at the same time.
_AT_ONCE = 0.2
# What clients are told before any start has been timed, in seconds.
_RETRY_AFTER = 10.0


class Head(Supervision):
    """The supervisor of the head pod."""

    def __post_init__(self) -> None:
        assert self.settings.sizes is not None  # noqa: S101 - read_settings requires them of a head
        self.sizes = self.settings.sizes
        self.budget = Budget(self.settings.timings)
        self.last_incident = ""
        self.incidents = Incidents.kept_in(file_of(self.environment), self.settings.pod_name)
        self._rendezvous: Rendezvous | None = None
        self._node: Node | None = None
        self._readiness: Readiness | None = None
        self._accepted = asyncio.Event()
        self._requests: Requests | None = None
        self._start_took = _RETRY_AFTER

    @property
    def ready(self) -> bool:
        """Serving, and every member is present."""
        complete = self._rendezvous is None or self._rendezvous.group.complete
        return self.status.state is State.SERVING and complete

    async def run(self) -> None:
        """Until stopped.

        Raises:
            MultinodeError: refused or given up; says why.
        """
        app = application(self)
        app.router.add_get(handshake.PATH, self._join)
        app.router.add_get(handshake.CHALLENGE_PATH, self._challenge)
        close = await self.listen(app)
        try:
            await self._prepare()
            await self.until_stopped(self._supervise())
            await self._drain()
        except MultinodeError as error:
            self.status.set(State.FAILED, str(error))
            raise
        finally:
            await self._finish()
            await close()

    async def _join(self, request: web.Request) -> web.StreamResponse:
        if self._rendezvous is None:
            return _not_yet()
        return await self._rendezvous.handle(request)

    async def _challenge(self, request: web.Request) -> web.StreamResponse:
        if self._rendezvous is None:
            return _not_yet()
        return await self._rendezvous.challenge(request)

    async def _prepare(self) -> None:
        warn_of_secrets(self.settings.arguments)
        check_sizes(self.settings.executor, self.sizes, self.settings.gpus)
        await self.await_model()
        readiness = await asyncio.to_thread(preflight, self.settings, self.environment)
        self._readiness = readiness
        self.environment = readiness.environment
        # A container of this pod that was killed could not do it.
        await self.clean_up()
        self._node = readiness.node(0, self.sizes)
        group = Group(
            head=readiness.identity,
            sizes=self.sizes,
            executor=self.settings.executor,
            told=self.settings.group,
        )
        self._rendezvous = Rendezvous(self.settings, group, self.status, self.connections, self._refuses)
        self.status.on_change = Announcements(self._rendezvous.announce, self.in_background).soon
        self.in_background(self._rendezvous.beat())
        self.warm_up(build(self._plan(), self._node), readiness.identity.accelerator)
        self.in_background(self._ask_vllm())
        self.in_background(self.follow_engine(readiness.model))
        self.read_ahead(readiness.model, self.sizes, rank=0)

    async def _ask_vllm(self) -> None:
        """While members are awaited."""
        assert self._readiness is not None  # noqa: S101 - set by _prepare
        assert self._node is not None  # noqa: S101 - set by _prepare
        await self.ask_vllm(build(self._plan(), self._node), self._readiness.identity.versions.vllm)
        self._accepted.set()

    def _refuses(self) -> str | None:
        if self.status.state in (State.DRAINING, State.FAILED, State.STOPPED):
            return f"the head is {self.status.state}"
        return None

    async def _supervise(self) -> None:
        """Form, run, recover, until the budget is used up."""
        while True:
            await self._form()
            if not self._accepted.is_set():
                self.status.set(State.FORMING, "complete; vLLM's parser checks the arguments")
                await self._accepted.wait()
            if self.budget.total:
                await self.check_model_again()
            await asyncio.sleep(await self._run_epoch())

    async def _form(self) -> None:
        """Wait until every place of the group is taken."""
        assert self._rendezvous is not None  # noqa: S101 - set by _prepare
        assert self._readiness is not None  # noqa: S101 - set by _prepare
        while True:
            self._readiness = await await_members(
                self.settings, self._rendezvous, self._readiness, self._tell_who_is_there
            )
            if self.settings.wire_check:
                await self._rendezvous.wire.check()
            if self._rendezvous.group.complete:
                break
        # A member that was lost and has come back since must not end the epoch that it starts with.
        self._rendezvous.events.forget()
        self._rendezvous.refusals.last = ""

    def _tell_who_is_there(self, present: str) -> None:
        if self.status.state is not State.RECOVERING:
            self.status.set(State.FORMING, present)
        else:
            self.status.set(State.RECOVERING, f"{self.last_incident}; {self.budget.attempt}; {present}")

    async def _run_epoch(self) -> float:
        """One engine from its start to its end on every node; returns the seconds to wait before the next."""
        assert self._rendezvous is not None  # noqa: S101 - set by _prepare
        assert self._node is not None  # noqa: S101 - set by _prepare
        self.stop_reading_ahead()
        epoch = self._rendezvous.group.next_epoch()
        plan = self._plan()
        self.status.set(State.STARTING, f"epoch {epoch}")
        told = for_workers(plan.executor, plan.arguments)
        for_them = plan.model_copy(update={"arguments": told})
        await self._rendezvous.broadcast(Start(epoch=epoch, plan=for_them))
        environment = without_own_proxy(self.environment, plan.members)
        self._requests = self._open_requests(self._node)
        node = self._node.model_copy(update={"door": self._requests.page})
        self.engine = Engine(build(plan, node), environment, self.unset, self.reaper, self.warm)
        self.engine.start()
        served_from: list[float] = []
        incident = await first_incident(
            self.engine, self._rendezvous, self.settings, self._serve(served_from)
        )
        served = self.now() - served_from[0] if served_from else None
        known = Incident(incident.cause, self.hide(incident.reason))
        self.incidents.add(time.time(), known, self.settings.pod_name)
        wait = self.budget.spend(incident, served)
        # Not ready, before anything else is done about it.
        self._recover(incident.reason, wait)
        if incident.cause is Cause.MEMBER:
            await self._name_others(incident, wait)
        if incident.cause is Cause.LEAVING:
            await self._let_requests_finish(incident.reason)
        else:
            await self._requests.cut(
                self.hide(f"the engine starts again: {incident.reason}"), self._start_took
            )
        await self._stop_epoch(epoch, self.last_incident, stacks=incident.cause is Cause.HUNG)
        return wait

    def _recover(self, reason: str, wait: float) -> None:
        self.last_incident = reason
        pause = f"; the next start is in {wait:.0f} s" if wait else ""
        self.status.set(State.RECOVERING, f"{reason}; {self.budget.attempt}{pause}")

    async def _name_others(self, incident: Incident, wait: float) -> None:
        """Say who else was lost at the same time, or is about to be."""
        assert self._rendezvous is not None  # noqa: S101 - set by _prepare
        await asyncio.sleep(_AT_ONCE)
        if others := [*self._rendezvous.events.lost_besides(), *self._rendezvous.silent()]:
            self._recover("; ".join([incident.reason, *others]), wait)

    def _open_requests(self, node: Node) -> Requests:
        """Those of the next engine. Only a `vllm` of this interpreter's own can load our middleware."""
        folder = node.scratch if own_vllm(self.environment) else None
        return Requests(folder, self._api, self.settings.timings.drain)

    def _plan(self) -> GroupPlan:
        assert self._readiness is not None  # noqa: S101 - set by _prepare
        assert self._rendezvous is not None  # noqa: S101 - set by _prepare
        return group_plan(
            self.settings, self.sizes, self._readiness.identity, self._rendezvous.group.addresses
        )

    async def _stop_epoch(
        self, epoch: int, reason: str, timeout: float = _STOP_TIMEOUT, *, stacks: bool = False
    ) -> None:
        """Stop the engine on every node at the same time: what hangs on one, another may wait for."""
        assert self._rendezvous is not None  # noqa: S101 - called after _prepare
        workers = self._rendezvous.stop_engines(epoch, reason, timeout, stacks=stacks)
        if self.engine is None:
            await workers
        else:
            await asyncio.gather(workers, self.kill_engine(stacks=stacks))
        if self._requests is not None:
            self._requests.close()
            self._requests = None

    async def _serve(self, served_from: list[float]) -> Incident:
        """From starting to serving, and on until the engine is dead or hung."""
        timings, begun = self.settings.timings, self.now()
        async with self._api() as api:
            try:
                async with asyncio.timeout(timings.start):
                    while not await api.healthy():
                        await asyncio.sleep(_API_POLL)
            except TimeoutError:
                return Incident(Cause.HUNG, f"the engine did not answer within {timings.start:.0f} s")
            served_from.append(self.now())
            self._start_took = self.now() - begun
            self.status.set(State.SERVING)
            return Incident(Cause.HUNG, await watch(api, timings.hang))

    def _api(self) -> EngineApi:
        return engine_api(self.settings, self.environment)

    async def _drain(self) -> None:
        """After SIGTERM: not ready, and running requests get their time."""
        self.status.set(State.DRAINING, "asked to stop")
        if self.engine is not None:
            await self._let_requests_finish("the server is stopping")

    async def _let_requests_finish(self, reason: str) -> None:
        """As long as there is time, and every node that works on them is there."""
        if self._requests is not None and self.engine is not None:
            assert self._rendezvous is not None  # noqa: S101 - there is an engine
            broken = end_of_answers(self.engine, self._rendezvous, self.settings)
            await self._requests.finish(self.hide(reason), self._start_took, broken)

    async def _finish(self) -> None:
        """Nothing of the engine outlives the supervisor, on any node."""
        if self._rendezvous is not None:
            epoch = self._rendezvous.group.epoch
            if self.status.state is not State.FAILED:
                self.status.set(State.STOPPED, "asked to stop")
            if self._requests is not None:
                await self._requests.cut(self.hide(f"the server ends: {self.status.reason}"), _RETRY_AFTER)
            reason = f"the head is {self.status.state}: {self.status.reason}"
            await self._stop_epoch(epoch, reason, _LAST_STOP_TIMEOUT)
            await self._rendezvous.close()
        await self.end_background()

    def describe(self) -> dict[str, Any]:
        """What `/status` answers; nothing secret is in it."""
        group = self._rendezvous.group if self._rendezvous is not None else None
        members = group.members.values() if group is not None else ()
        return self.description(epoch=group.epoch if group is not None else 0, rank=0) | {
            "nodes": self.sizes.nodes,
            "tensor_parallel": self.sizes.tensor_parallel,
            "pipeline_parallel": self.sizes.pipeline_parallel,
            "members": [*self._own(), *members_described(members, self.now())],
            "wire": self._rendezvous.wire.described() if self._rendezvous else [],
            "model_bytes": sum(shard.bytes for shard in self._readiness.model.shards)
            if self._readiness
            else 0,
            "recoveries": self.budget.total,
            "last_incident": self.last_incident,
            **self.incidents.described(),
            "refused": self._rendezvous.refusals.last if self._rendezvous else "",
        }

    def _own(self) -> list[dict[str, Any]]:
        """The head as a member, once it has passed its preflight."""
        if self._readiness is None:
            return []
        engine = engine_described(self.loading, self.processes)
        return [described(self._readiness.identity, 0, self.status.state) | engine]

    def labelled(self) -> Mapping[str, tuple[str, Mapping[str, float]]]:
        """Beside `numbers`, those with a label."""
        return {"recoveries_by_cause_total": ("cause", self.incidents.by_cause)}

    def numbers(self) -> Mapping[str, float]:
        """For `/metrics`."""
        group = self._rendezvous.group if self._rendezvous else None
        return self.common_numbers() | {
            "ready": float(self.ready),
            "nodes": float(self.sizes.nodes),
            "members": float(group.present) if group else 0.0,
            "epoch": float(group.epoch) if group else 0.0,
            "recoveries_total": float(self.budget.total),
            "refused_total": float(self._rendezvous.refusals.total) if self._rendezvous else 0.0,
        }


def _not_yet() -> web.Response:
    return web.Response(status=503, text="the head is in preflight\n")
