"""What every command over running services has in common: which ones, and where they run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vllm_multinode.cli.cluster_options import LoginSource
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from vllm_multinode.operate.source import Source

Output = Literal["text", "json"]

ServiceName = Annotated[
    str,
    typer.Argument(
        metavar="[NAME]",
        help="An InferenceService, LeaderWorkerSet or deployment; with --local a run. All where left out.",
        show_default=False,
    ),
]
Labels = Annotated[
    str, typer.Option("--selector", "-l", help="Only services with this label, as kubectl takes it.")
]
Local = Annotated[bool, typer.Option("--local", help="Runs of this machine (multinode local run).")]
OutputFormat = Annotated[Output, typer.Option("--output", "-o", help="text, or json for programs.")]


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
            raise MultinodeError(ExitCode.USAGE, f"{named} is for clusters.", hint="Leave it or --local out.")
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


def as_json(found: Any) -> str:
    """For programs."""
    import json

    return json.dumps(found, indent=2, ensure_ascii=False)
