"""`multinode top`: what engines do by the second."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from vllm_multinode.cli.cluster_options import Context, Kubeconfig, Login, Namespace, say
from vllm_multinode.cli.service_options import (
    Labels,
    Local,
    OutputFormat,
    ServiceName,
    again,
    as_json,
    source,
)
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from vllm_multinode.operate.observation import Observation
    from vllm_multinode.operate.rates import Rates


def top(
    name: ServiceName = "",
    *,
    labels: Labels = "",
    local: Local = False,
    once: Annotated[bool, typer.Option("--once", help="One interval, and end.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds between two looks.")] = 2,
    output: OutputFormat = "text",
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    login: Login = "kubeconfig",
) -> int:
    """Show tokens and requests per second, the KV cache and the nodes' heartbeats, live.

    multinode top llama -n models

    multinode top --local --once -o json
    """
    from vllm_multinode.operate.rates import as_text, rates_of

    with source(
        local=local, namespace=namespace, context=context, kubeconfig=kubeconfig, login=login
    ) as place:
        before = {one.snapshot.name: one for one in place.observe(name, labels)}

        def look() -> "list[tuple[Observation, list[Rates]]]":
            found = []
            for seen in place.observe(name, labels):
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
