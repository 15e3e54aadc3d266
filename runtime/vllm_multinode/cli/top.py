"""`multinode top`: what engines do by the second."""

import time
from typing import TYPE_CHECKING, Annotated

from vllm_multinode.cli.answer import OutputFormat, as_json
from vllm_multinode.cli.cluster_options import say
from vllm_multinode.cli.declare import Option
from vllm_multinode.cli.service_options import Asked, again, over_services
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from vllm_multinode.operate.observation import Observation
    from vllm_multinode.operate.rates import Rates


@over_services
def top(
    asked: Asked,
    *,
    once: Annotated[bool, Option("--once", help="Print one interval and exit.")] = False,
    interval: Annotated[float, Option(min=0.2, max=60, help="Seconds between refreshes.")] = 2,
    output: OutputFormat = "text",
) -> int:
    """Show tokens and requests per second, the KV cache and the nodes' heartbeats, live.

    multinode top llama -n models

    multinode top --local --once -o json
    """
    from vllm_multinode.operate.numbers import OF_RATES
    from vllm_multinode.operate.rates import as_text, rates_of

    with asked.source() as place:

        def observe() -> "list[Observation]":
            return place.observe(asked.name, asked.labels, counters=OF_RATES)

        before = {one.snapshot.name: one for one in observe()}

        def look() -> "list[tuple[Observation, list[Rates]]]":
            found = []
            for seen in observe():
                earlier = before.get(seen.snapshot.name)
                found.append((seen, rates_of(earlier, seen) if earlier is not None else []))
                before[seen.snapshot.name] = seen
            return found

        time.sleep(interval)
        if output == "json":
            rows = [
                {"service": seen.title, "engines": [one.model_dump() for one in rates]}
                for seen, rates in look()
            ]
            say(as_json(rows))
        elif once:
            say(as_text(look()).rstrip("\n"))
        else:
            again(lambda: as_text(look()), interval)
    return ExitCode.OK
