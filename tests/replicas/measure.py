"""What each group got while all served, while one was dead, and after its return."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from engine.services import LocalGroup, eventually
from replicas.allowance import Allowance
from replicas.clients import Clients, Tally
from replicas.routers import healthy, routers
from vllm_multinode.local.world.protocol import Request

T = TypeVar("T")
HEAD = "head"
_KILLED: Final = 1
EVEN: Final = 0.10
"""How much less than the most any group may get, as a part of that."""
SETTLED: Final = 4
"""Answers for each connection before a phase is counted: by then the requests under way are even again."""
_POLL: Final = 0.5
"""Seconds; a head's counters are asked of the API server that answers the requests."""
_SERVED = re.compile(r"^vllm:request_success_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Figures:
    """Requests that each group's engine has finished.

    Attributes:
        even: while all served.
        without: of the others, while one was dead.
        returned: from when both routers had found it healthy again, and each connection had had `SETTLED`
            answers more.
        tally: of all requests.
    """

    even: tuple[int, ...]
    without: tuple[int, ...]
    returned: tuple[int, ...]
    tally: Tally


def spread(counts: Iterable[int]) -> float:
    """How much less the one with the fewest got than the one with the most, as a part of that."""
    found = list(counts)
    return 1 - min(found) / max(found)


@dataclass
class Load:
    """Groups under the load of clients.

    Attributes:
        groups: two nodes each.
        clients: that run.
        patience: seconds that any step may take.
    """

    groups: Sequence[LocalGroup]
    clients: Clients
    patience: float

    def served(self, groups: Sequence[int]) -> tuple[int, ...]:
        """Requests that the engine of each of these groups has finished since it was started."""
        found = (eventually(partial(_served, self.groups[one]), self.patience) for one in groups)
        return tuple(count for (count,) in found)

    def over(self, requests: int, groups: Sequence[int]) -> tuple[int, ...]:
        """What each of these groups finishes while clients get so many answers."""
        before = self.served(groups)

        def gained() -> tuple[int, ...]:
            now = self.served(groups)
            more = tuple(after - first for after, first in zip(now, before, strict=True))
            return more if sum(more) >= requests else ()

        return self.until(gained, _POLL)

    def settle(self, groups: Sequence[int], connections: int) -> None:
        """Let so many connections have some answers each, which nobody counts."""
        self.over(SETTLED * connections, groups)

    def until(self, done: Callable[[], T | None], poll: float = 0.02) -> T:
        """Wait for what `done` returns as soon as that is true."""
        return eventually(done, self.patience, lambda: str(self.clients.tally), poll=poll)


def measure(
    groups: Sequence[LocalGroup],
    folder: Path,
    *,
    allowances: Sequence[Allowance] = (),
    weights: Sequence[int],
    tokens: int,
    requests: int,
    patience: float,
    pause: float = 0.0,
    say: Callable[[str], object] = str,
) -> Figures:
    """Load the groups, kill the second, start it again, and count.

    Args:
        groups: that serve.
        folder: for the routers' logs.
        allowances: of each group's CPU time, where they have any; lifted while an engine starts.
        weights: connections of each client.
        tokens: of an answer, on average.
        requests: that are counted in each of the three phases.
        patience: seconds that any step may take.
        pause: seconds before a connection's next request, on average.
        say: told what begins.
    """
    everyone = range(len(groups))
    others = [number for number in everyone if number != _KILLED]
    heads = [group.apis[HEAD] for group in groups]
    connections = sum(weights)
    with routers(heads, folder) as urls:
        clients = Clients(urls, weights, tokens, pause)
        clients.start()
        try:
            load = Load(groups, clients, patience)
            load.until(lambda: all(healthy(url) >= set(heads) for url in urls))
            load.settle(everyone, connections)
            say("All serve")
            even = load.over(requests, everyone)
            say(f"{even}; now the second is killed")
            for node in (HEAD, "worker-1"):
                groups[_KILLED].run.client.ask(Request(command="kill", node=node, stay_dead=True))
            without = load.over(requests, others)
            load.until(lambda: not any(heads[_KILLED] in healthy(url) for url in urls))
            say(f"{without}; now it is started again")
            with _lifted(allowances):
                for node in (HEAD, "worker-1"):
                    groups[_KILLED].act("start", node)
                load.until(lambda: all(heads[_KILLED] in healthy(url) for url in urls))
            load.settle(everyone, connections)
            say("Both routers have found it healthy again")
            returned = load.over(requests, everyone)
            say(f"{returned}")
        finally:
            clients.end()
    return Figures(even, without, returned, clients.tally)


@contextmanager
def _lifted(allowances: Sequence[Allowance]) -> Iterator[None]:
    """The killed group starts as fast as the machine lets it."""
    for allowance in allowances[_KILLED : _KILLED + 1]:
        allowance.lift()
    yield
    for allowance in allowances[_KILLED : _KILLED + 1]:
        allowance.limit()


def _served(group: LocalGroup) -> tuple[int] | None:
    """None of an engine that does not answer, as one that has just died."""
    try:
        text = group.text("/metrics")
    except OSError:
        return None
    return (round(sum(float(number) for number in _SERVED.findall(text))),)
