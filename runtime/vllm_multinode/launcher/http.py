"""What Kubernetes and people ask the supervisor, answered from memory."""

import errno
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from vllm_multinode.contract import env
from vllm_multinode.launcher.connections import Connections
from vllm_multinode.launcher.front import Front, Probes
from vllm_multinode.launcher.network import cannot_listen, listen_addresses, open_listener
from vllm_multinode.launcher.page import HEADERS, page
from vllm_multinode.launcher.states import State, Status

_BACKLOG: Final = 4096
PROBES: Final = web.AppKey[Probes]("probes")


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

    def labelled(self) -> Mapping[str, tuple[str, Mapping[str, float]]]:
        """The same with a label: its name, and value by what it says."""


def application(supervisor: Supervisor) -> web.Application:
    """The probes of one node: `/live`, `/startup`, `/ready`, and `/status`, `/metrics`."""
    registry = CollectorRegistry()
    registry.register(_Numbers(supervisor))

    async def status(_: web.Request) -> web.Response:
        return web.json_response(supervisor.describe())

    async def front_page(_: web.Request) -> web.Response:
        return web.Response(text=page(supervisor.describe()), content_type="text/html", headers=HEADERS)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": "text/plain; version=0.0.4"}
        )

    app = web.Application()
    app[PROBES] = probes = {
        # Being answered is the proof: the supervisor's loop turns.
        "/live": lambda: (200, "live\n"),
        # The model may take hours to come: the launcher's own limits hold from then on.
        "/startup": lambda: _probe(supervisor.status.served or supervisor.status.awaits_model, supervisor),
        "/ready": lambda: _probe(supervisor.ready, supervisor),
    }
    for path, probe in probes.items():
        app.router.add_get(path, _as_handler(probe))
    app.on_response_prepare.append(_close_after_one)
    app.router.add_get("/", front_page)
    app.router.add_get("/status", status)
    app.router.add_get("/metrics", metrics)
    return app


async def _close_after_one(_: web.Request, response: web.StreamResponse) -> None:
    """One request a connection: thousands sent in one breath would be answered before anybody else's."""
    if not isinstance(response, web.WebSocketResponse):
        response.force_close()
        response.headers["Connection"] = "close"


def _as_handler(probe: Callable[[], tuple[int, str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        status, text = probe()
        return web.Response(status=status, text=text)

    return answer


def _probe(passed: bool, supervisor: Supervisor) -> tuple[int, str]:
    state = supervisor.status.state
    reason = f" ({supervisor.status.reason})" if supervisor.status.reason else ""
    return 200 if passed else 503, f"{state}{reason}\n"


class _Numbers(Collector):
    """Prometheus' view of a supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        state = GaugeMetricFamily("multinode_state", "1 for the present state", labels=["state"])
        for one in State:
            state.add_metric([one.value], float(one is self._supervisor.status.state))
        status = self._supervisor.status
        lasting = GaugeMetricFamily(
            "multinode_state_seconds", "seconds in the present state", labels=["state"]
        )
        lasting.add_metric([status.state.value], max(0.0, time.time() - status.since))
        families: list[GaugeMetricFamily | CounterMetricFamily] = [state, lasting]
        for name, (label, values) in self._supervisor.labelled().items():
            counts = CounterMetricFamily(f"multinode_{name}", name.replace("_", " "), labels=[label])
            for said, count in values.items():
                counts.add_metric([said], count)
            families.append(counts)
        for name, value in self._supervisor.numbers().items():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            families.append(family(f"multinode_{name}", name.replace("_", " "), value=value))
        return families


async def listen(
    app: web.Application, address: str, port: int, connections: Connections
) -> Callable[[], Awaitable[None]]:
    """Serve on this pod's own addresses and on loopback; returns what ends it.

    Args:
        app: what is served.
        address: that peers reach this node by.
        port: on each of its addresses.
        connections: bounds who may hold one.

    Raises:
        MultinodeError: the port is taken, or the address is not this pod's.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    server = runner.server
    assert server is not None  # noqa: S101 - set by setup
    front = Front(server, app.get(PROBES, {}), connections)

    async def close() -> None:
        front.close()
        connections.close()
        await runner.cleanup()

    for own in listen_addresses(address):
        try:
            opened = open_listener(own, port, _BACKLOG)
        except OSError as error:
            if own != address and error.errno == errno.EADDRNOTAVAIL:
                continue
            await close()
            raise cannot_listen(env.SUPERVISOR_PORT, own, port, error) from error
        front.listen(opened)
    return close
