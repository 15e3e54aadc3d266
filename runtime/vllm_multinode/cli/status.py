"""`multinode status`: what services do, node by node."""

import time
from typing import TYPE_CHECKING, Annotated

from vllm_multinode.cli.answer import Output, OutputFormat, as_json
from vllm_multinode.cli.cluster_options import say
from vllm_multinode.cli.declare import Option
from vllm_multinode.cli.service_options import Asked, again, over_services
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from vllm_multinode.operate.source import Source
    from vllm_multinode.operate.status import ServiceStatus

Watch = Annotated[bool, Option("--watch", "-w", help="Refresh until Ctrl-C.")]
Interval = Annotated[float, Option(min=0.2, help="Seconds between refreshes with --watch.")]


@over_services
def status(
    asked: Asked,
    *,
    watch: Watch = False,
    interval: Interval = 2,
    output: OutputFormat = "text",
) -> int:
    """Show the state of services: reason, nodes, requests, recoveries and how to reach them.

    multinode status llama -n models

    multinode status --local --watch
    """
    return show(asked, watch=watch, interval=interval, output=output)


def show(asked: Asked, *, watch: bool, interval: float, output: Output) -> int:
    """Print it.

    Raises:
        MultinodeError: USAGE for --watch beside -o json.
    """
    if watch and output == "json":
        raise MultinodeError(ExitCode.USAGE, "--watch draws text.", hint="Omit --watch or -o json.")
    with asked.source() as place:
        if watch:
            again(lambda: _text(_look(place, asked), single=bool(asked.name)), interval)
            return ExitCode.OK
        found = _look(place, asked)
        if output == "json":
            say(as_json([one.model_dump(mode="json") for one in found]))
        else:
            say(_text(found, single=bool(asked.name)).rstrip("\n"))
    return ExitCode.OK


def _look(place: "Source", asked: Asked) -> "list[ServiceStatus]":
    from vllm_multinode.operate import numbers
    from vllm_multinode.operate.status import status_of

    return [status_of(seen) for seen in place.observe(asked.name, asked.labels, counters=numbers.OF_STATUS)]


def _text(found: "list[ServiceStatus]", *, single: bool) -> str:
    from vllm_multinode.operate.screen import screen, summary

    now = time.time()
    if single or len(found) == 1:
        # The replicas of one deployment, below each other.
        parts = ["\n".join(screen(one, now)) for one in found]
    else:
        parts = ["\n".join(summary(found, now))]
    return "\n\n".join(parts) + "\n"
