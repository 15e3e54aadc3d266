"""What Kubernetes and people ask the supervisor, answered from memory."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from vllm_multinode.contract import env
from vllm_multinode.launcher.network import port_taken
from vllm_multinode.launcher.states import State, Status


class Supervisor(Protocol):
    """What both roles offer to the probes."""

    status: Status

    @property
    def ready(self) -> bool:
        """May traffic come?"""

    def describe(self) -> dict[str, Any]:
        """What `/status` answers."""

    def numbers(self) -> Mapping[str, float]:
        """Gauges and counters (`_total`) by name, for `/metrics`."""


def application(supervisor: Supervisor) -> web.Application:
    """The probes of one node: `/live`, `/startup`, `/ready`, and `/status`, `/metrics`."""
    registry = CollectorRegistry()
    registry.register(_Numbers(supervisor))

    async def live(_: web.Request) -> web.Response:
        # Being answered is the proof: the supervisor's loop turns.
        return web.Response(text="live\n")

    async def startup(_: web.Request) -> web.Response:
        return _probe(supervisor.status.served, supervisor)

    async def ready(_: web.Request) -> web.Response:
        return _probe(supervisor.ready, supervisor)

    async def status(_: web.Request) -> web.Response:
        return web.json_response(supervisor.describe())

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": "text/plain; version=0.0.4"}
        )

    app = web.Application()
    app.router.add_get("/live", live)
    app.router.add_get("/startup", startup)
    app.router.add_get("/ready", ready)
    app.router.add_get("/status", status)
    app.router.add_get("/metrics", metrics)
    return app


def _probe(passed: bool, supervisor: Supervisor) -> web.Response:
    state = supervisor.status.state
    reason = f" ({supervisor.status.reason})" if supervisor.status.reason else ""
    return web.Response(status=200 if passed else 503, text=f"{state}{reason}\n")


class _Numbers(Collector):
    """Prometheus' view of a supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        state = GaugeMetricFamily("multinode_state", "1 for the present state", labels=["state"])
        for one in State:
            state.add_metric([one.value], float(one is self._supervisor.status.state))
        families: list[GaugeMetricFamily | CounterMetricFamily] = [state]
        for name, value in self._supervisor.numbers().items():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            families.append(family(f"multinode_{name}", name.replace("_", " "), value=value))
        return families


async def listen(app: web.Application, port: int) -> Callable[[], Any]:
    """Serve on every address of the pod; returns the coroutine function that ends it.

    Raises:
        MultinodeError: the port is taken.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", port, reuse_address=True, backlog=2048).start()
    except OSError as error:
        await runner.cleanup()
        raise port_taken(env.SUPERVISOR_PORT, port) from error
    return runner.cleanup
