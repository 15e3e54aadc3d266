"""`multinode local`: the same pods as processes on this machine."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import click

from vllm_multinode.cli import local_nodes, local_run
from vllm_multinode.cli.answer import OutputFormat, as_json
from vllm_multinode.cli.aside import progress
from vllm_multinode.cli.declare import Argument, Option, group
from vllm_multinode.cli.local_answers import RunName, say
from vllm_multinode.cli.local_nodes import AnyNode
from vllm_multinode.cli.logs import Follow, Previous, Tail, Wanted
from vllm_multinode.cli.logs import show as show_logs
from vllm_multinode.cli.service_options import Asked
from vllm_multinode.cli.status import Interval, Watch
from vllm_multinode.cli.status import show as show_status
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.run.client import RunClient
from vllm_multinode.local.rundir import Runs
from vllm_multinode.local.world import refusals


def _before(command: str) -> None:
    if command != "make-model":
        refusals.require_linux()


app = group(
    """Run the same pods as processes on this machine.

    multinode local run --model /tmp/model --nodes 2 --pp 2

    multinode local kill worker-1
    """,
    _before,
)

app.declare("run")(local_run.run_)


@app.declare()
def status(
    *,
    run: RunName = None,
    watch: Watch = False,
    interval: Interval = 2,
    output: OutputFormat = "text",
) -> int:
    """Show every run's nodes, or one run's: the same as multinode status --local.

    multinode local status

    multinode local status --run llm-1 -o json
    """
    return show_status(Asked(name=run or "", local=True), watch=watch, interval=interval, output=output)


@app.declare("logs")
def logs_(
    node: AnyNode = "",
    *,
    run: RunName = None,
    follow: Follow = False,
    previous: Previous = False,
    tail: Tail = None,
    output: OutputFormat = "text",
) -> int:
    """Print what nodes have written: the same as multinode logs --local.

    multinode local logs head --follow

    multinode local logs worker-1 --tail 20
    """
    name = Runs.of_this_user().find(run).name
    return show_logs(
        Asked(name=name, local=True),
        Wanted(follow=follow, previous=previous, node=node, tail=tail, output=output),
    )


@app.declare()
def ask(
    prompt: Annotated[str, Argument(help="The prompt.")],
    *,
    tokens: Annotated[int, Option(min=1, help="At most.")] = 32,
    run: RunName = None,
    output: OutputFormat = "text",
) -> None:
    """Print a greedy completion, and the engine's fingerprint; VLLM_API_KEY is presented where it is set.

    multinode local ask 'Once upon a time'

    multinode local ask 'Once upon a time' --tokens 8 -o json
    """
    from vllm_multinode.local.run.ask import ask as ask_engine

    directory = Runs.of_this_user().find(run)
    if directory.info is None:
        raise MultinodeError(ExitCode.LOCAL_RUN, "has no API.", where=directory.name)
    answer = ask_engine(directory.info.url, prompt, tokens=tokens, key=os.environ.get(env.API_KEY))
    say(
        output,
        f"{prompt}{answer.text}\nsystem_fingerprint: {answer.fingerprint}",
        {"text": answer.text, "system_fingerprint": answer.fingerprint},
    )


for _command in (
    local_nodes.kill,
    local_nodes.freeze,
    local_nodes.thaw,
    local_nodes.cut,
    local_nodes.join,
    local_nodes.replace,
    local_nodes.start,
    local_nodes.stop,
):
    app.declare()(_command)


@app.declare()
def wait(
    *,
    state: Annotated[
        Literal["serving", "forming", "starting", "recovering", "failed"],
        Option("--for", help="State to wait for."),
    ] = "serving",
    timeout: Annotated[float, Option(min=0, help="Seconds.")] = 300,
    run: RunName = None,
    output: OutputFormat = "text",
) -> None:
    """Return when the head is in a state.

    multinode local wait

    multinode local wait --for recovering --timeout 60
    """
    begun = time.monotonic()
    directory = Runs.of_this_user().find(run)
    RunClient(directory.control).wait_for(state, timeout)
    seconds = round(time.monotonic() - begun, 1)
    fields = {"run": directory.name, "state": state, "seconds": seconds}
    say(output, f"{state} after {seconds} s", fields)


@app.declare()
def clean(*, output: OutputFormat = "text") -> None:
    """Remove what runs left that died by violence: run directories; the kernel has removed all else.

    multinode local clean

    multinode local clean --quiet
    """
    removed = Runs.of_this_user().clean()
    text = "\n".join(f"removed run {name}" for name in removed) or "nothing to remove"
    say(output, text, {"removed": list(removed)})


@app.declare("make-model")
def make_model_(
    directory: Annotated[Path, Argument(help="The model directory to create.")],
    *,
    layers: Annotated[int, Option(min=1, max=1024, help="Decoder layers.")] = 4,
    heads: Annotated[int, Option(min=1, max=1024, help="Attention heads.")] = 4,
    kv_heads: Annotated[int, Option(min=1, max=1024, help="Key-value heads.")] = 2,
    width: Annotated[int, Option(min=1, max=16384, help="Hidden size.")] = 64,
    shards: Annotated[int, Option(min=1, max=1024, help="Number of weight files.")] = 2,
    seed: Annotated[int, Option(min=0, help="Random seed of the weights.")] = 0,
    output: OutputFormat = "text",
) -> None:
    """Make a small random Llama with a tokenizer, the same bytes each time.

    multinode local make-model /tmp/model

    multinode local make-model /tmp/model --layers 8 --shards 4
    """
    from vllm_multinode.local.tiny_model.make_model import make_model

    made = make_model(
        directory, layers=layers, heads=heads, kv_heads=kv_heads, width=width, shards=shards, seed=seed
    )
    say(
        output,
        f"{directory}: {made.parameters:,} parameters, {made.size:,} bytes in {made.shards} shards",
        {
            "directory": str(directory),
            "parameters": made.parameters,
            "bytes": made.size,
            "shards": made.shards,
        },
    )


@app.declare()
def install(
    *,
    python: Annotated[
        Path, Option(help="Python of the environment; this one by default.", show_default=False)
    ] = Path(sys.executable),
    output: OutputFormat = "text",
) -> None:
    """Install the engine's CPU build and Ray beside this package.

    multinode local install

    multinode local install --python /opt/engine/bin/python
    """
    from vllm_multinode.local.install import install_engine

    install_engine(python=python, say=progress)
    if output == "json":
        click.echo(as_json({"python": str(python), "installed": True}))
