"""What a place offers in which services run; a cluster and this machine do."""

from typing import Protocol

from vllm_multinode.operate.observation import Observation


class Source(Protocol):
    """Looks at services."""

    def observe(self, name: str = "", labels: str = "", *, deep: bool = False) -> list[Observation]:
        """The services of a name, of a label, or all.

        Args:
            name: empty for all.
            labels: a selector; empty for all.
            deep: look at all that may say why one does not serve.

        Raises:
            MultinodeError: there is none, or nothing can be seen.
        """
