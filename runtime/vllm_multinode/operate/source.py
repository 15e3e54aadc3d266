"""What a place offers in which services run; a cluster and this machine do."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.operate.observation import Observation

if TYPE_CHECKING:
    from vllm_multinode.operate.log_streams import Streams


_NAMED: Final = 5


def several(names: Sequence[str]) -> MultinodeError:
    """There is more than the one service that a command needs."""
    more = ", …" if len(names) > _NAMED else ""
    what = f"there are {len(names)} services: {', '.join(names[:_NAMED])}{more}."
    return MultinodeError(ExitCode.USAGE, what, hint="Name one.")


class WayIn(Frozen):
    """How load reaches a service.

    Attributes:
        url: of its API; empty where a port has to be forwarded first.
        model: directory of its model on this machine; empty where it is elsewhere.
        key: that it asks its clients for; empty where it asks for none.
    """

    url: str = ""
    model: str = ""
    key: str = ""


class Source(Protocol):
    """Looks at services."""

    def observe(
        self, name: str = "", labels: str = "", *, deep: bool = False, counters: Sequence[str] = ()
    ) -> list[Observation]:
        """The services of a name, of a label, or all.

        Args:
            name: empty for all.
            labels: a selector; empty for all.
            deep: look at all that may say why one does not serve.
            counters: of the engines, those that are needed; all where empty, which costs an engine more.

        Raises:
            MultinodeError: there is none, or nothing can be seen.
        """

    def streams(self, seen: Observation, since: float, *, several: bool) -> "Streams":
        """The logs of a service's nodes.

        Args:
            seen: the service.
            since: Unix time in seconds of the oldest line; 0 for all.
            several: nodes of several services are to be told apart.
        """

    def platform(self) -> Mapping[str, str]:
        """What it all runs on: versions of Kubernetes and KServe, or this machine's CPUs and memory."""

    def ask(self, seen: Observation, prompt: str, tokens: int) -> tuple[str, str]:
        """A greedy completion, and the engine's own fingerprint.

        Raises:
            MultinodeError: there is none, with what the engine said.
        """

    def way_in(self, seen: Observation) -> WayIn:
        """How load reaches it.

        Raises:
            MultinodeError: it has none, or its key may not be read.
        """
