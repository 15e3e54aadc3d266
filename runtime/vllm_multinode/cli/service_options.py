"""What every command over running services has in common: which ones, and where they run."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec

from vllm_multinode.cli import completions
from vllm_multinode.cli.cluster_options import Context, Kubeconfig, Login, LoginSource, Namespace
from vllm_multinode.cli.declare import Argument, Option
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from vllm_multinode.operate.source import Source

ServiceName = Annotated[
    str,
    Argument(
        metavar="[NAME]",
        help="An InferenceService, LeaderWorkerSet or deployment; a run with --local. All by default.",
        show_default=False,
        complete=completions.services,
    ),
]
Labels = Annotated[
    str, Option("--selector", "-l", help="Only services with this label, in kubectl's syntax.")
]
Local = Annotated[bool, Option("--local", help="Look at runs on this machine (multinode local run).")]
P = ParamSpec("P")


@dataclass(frozen=True)
class Asked:
    """Which services a command is about, and where they run.

    Attributes:
        name: of a service or deployment; empty for all.
        labels: a selector; empty for all.
        local: runs of this machine.
        namespace: of the cluster; empty for the kubeconfig's.
        context: of the kubeconfig; empty for its own.
        kubeconfig: a file; empty for the usual ones.
        login: whose.
    """

    name: str = ""
    labels: str = ""
    local: bool = False
    namespace: str = ""
    context: str = ""
    kubeconfig: str = ""
    login: LoginSource = "kubeconfig"

    def source(self) -> "AbstractContextManager[Source]":
        """Where they are looked at.

        Raises:
            MultinodeError: USAGE where options of a cluster stand beside --local; the login is of no use.
        """
        return source(
            local=self.local,
            namespace=self.namespace,
            context=self.context,
            kubeconfig=self.kubeconfig,
            login=self.login,
        )


def _options(
    name: ServiceName = "",
    *,
    labels: Labels = "",
    local: Local = False,
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    login: Login = "kubeconfig",
) -> None:
    """The options that all commands over services have."""


_SHARED: Final = inspect.signature(_options).parameters


def over_services(command: Callable[Concatenate[Asked, P], int]) -> Callable[..., int]:
    """A command with the options that tell which services are meant, and where; it is given an Asked."""
    (_, *own) = inspect.signature(command).parameters.values()
    name, labels, local, *of_cluster = _SHARED.values()

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> int:
        asked = {key: options.pop(key) for key in _SHARED if key in options}
        return command(Asked(**asked), *arguments, **options)

    del run.__wrapped__
    parameters = [name, labels, local, *own, *of_cluster]
    run.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


@contextmanager
def source(
    *, local: bool, namespace: str, context: str, kubeconfig: str, login: LoginSource
) -> "Iterator[Source]":
    """Where services are looked at.

    Raises:
        MultinodeError: USAGE where options of a cluster stand beside --local; the login is of no use.
    """
    if local:
        given = {"-n": namespace, "--context": context, "--kubeconfig": kubeconfig}
        if named := next((name for name, value in given.items() if value), ""):
            raise MultinodeError(
                ExitCode.USAGE, f"{named} is for clusters only.", hint="Omit it, or omit --local."
            )
        from vllm_multinode.local.world import refusals
        from vllm_multinode.operate.local_source import LocalSource

        refusals.require_linux()
        yield LocalSource()
        return
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.login import require_client
    from vllm_multinode.operate.cluster_source import ClusterSource

    require_client()
    with Cluster.connect(
        kubeconfig=kubeconfig, context=context, namespace=namespace, source=login
    ) as cluster:
        yield ClusterSource(cluster)


def again(draw: Callable[[], str], seconds: float) -> None:
    """Print what `draw` returns again and again until Ctrl-C: in place on a terminal, below it elsewhere.

    Raises:
        MultinodeError: what the first look meets; later ones are shown, and tried again.
    """
    import sys
    import time

    on_terminal = sys.stdout.isatty()
    text = draw()
    while True:
        # Home, each line cleared behind its end, and all below the last: no flicker.
        shown = f"\x1b[H{text}".replace("\n", "\x1b[K\n") + "\x1b[J" if on_terminal else text
        sys.stdout.write(shown + ("" if on_terminal else "\n"))
        sys.stdout.flush()
        try:
            time.sleep(seconds)
            text = draw()
        except KeyboardInterrupt:
            return
        except MultinodeError as error:
            text = f"{error}\n"
