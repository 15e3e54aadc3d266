"""`multinode local`: the same pods as processes on this machine."""

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from vllm_multinode.cli.platform_options import Kserve, Platform, chosen, tell
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.run import isvc, logs
from vllm_multinode.local.run.client import RunClient
from vllm_multinode.local.rundir import Runs
from vllm_multinode.local.world import refusals
from vllm_multinode.local.world.pod_spec import Restart
from vllm_multinode.local.world.protocol import Action, Families, Request, RunStatus
from vllm_multinode.platforms.kserve.environment import Service
from vllm_multinode.platforms.releases import require_multi_node

_FILE_WIDTH = 160

app = typer.Typer(no_args_is_help=True)

RunName = Annotated[str | None, typer.Option("--run", help="The run's name; needed where there are several.")]
NodeName = Annotated[str, typer.Argument(help="A node (head, worker-1) or its pod.")]
Grace = Annotated[
    float | None, typer.Option(min=0, help="Seconds between SIGTERM and SIGKILL; 60 by default.")
]


@app.callback()
def linux_only(context: typer.Context) -> None:
    """The same pods as processes on this machine."""
    if context.invoked_subcommand != "make-model":
        refusals.require_linux()


@app.command("run")
def run_(
    *,
    model: Annotated[Path, typer.Option(help="The model directory.")],
    nodes: Annotated[
        int | None, typer.Option(min=1, help="Nodes, head included; what KServe makes of the rest.")
    ] = None,
    tp: Annotated[int, typer.Option(min=1, help="Tensor parallel size.")] = 1,
    pp: Annotated[int, typer.Option(min=1, help="Pipeline parallel size.")] = 1,
    executor: Annotated[
        ExecutorName, typer.Option(help="What spreads the engine over the nodes.")
    ] = DEFAULT_EXECUTOR,
    platform: Platform = None,
    kserve: Kserve = None,
    head_gpus: Annotated[int, typer.Option(min=0, help="Accelerators of the head; 0: as KServe counts.")] = 0,
    worker_gpus: Annotated[
        int, typer.Option(min=0, help="Accelerators of each worker; 0: as KServe counts.")
    ] = 0,
    name: Annotated[str, typer.Option(help="The InferenceService's name.")] = "llm",
    generation: Annotated[int, typer.Option(min=1, help="Its generation.")] = 1,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port here; 0: any free one.")] = None,
    supervisor_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port here of the head's supervisor.")
    ] = 0,
    run: RunName = None,
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for every node; repeatable.")] = None,
    restart: Annotated[
        Restart, typer.Option(help="Of containers that end, as the kubelet does it.")
    ] = "always",
    fail_fast: Annotated[
        bool, typer.Option(help="End when a node refuses its settings before serving.")
    ] = True,
    pin: Annotated[bool, typer.Option("--pin", help="Give each node CPU cores of its own.")] = False,
    ip6: Annotated[bool, typer.Option("--ip6", help="Give the nodes IPv6 addresses and no others.")] = False,
    dual_stack: Annotated[
        bool, typer.Option("--dual-stack", help="Give the nodes an address of each family, IPv4 first.")
    ] = False,
    vllm: Annotated[
        str | None,
        typer.Option(help="Version of vLLM, in a cached environment; by default the installed one."),
    ] = None,
    log_directory: Annotated[Path | None, typer.Option("--logs", help="Keep the nodes' logs there.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when the nodes are up.")] = False,
    python: Annotated[
        Path | None,
        typer.Option(help="Run the launcher's zip application with this Python, as in a released image."),
    ] = None,
    vllm_args: Annotated[
        list[str] | None, typer.Argument(help="After --: arguments of vLLM on the head.")
    ] = None,
) -> int:
    """Serve a model over several nodes of this machine, and show them, until Ctrl-C."""
    refusals.require_packages(("rich",))
    from vllm_multinode.local.run.detach import in_background
    from vllm_multinode.local.run.serve import RunOptions, serve

    release = require_multi_node(chosen(platform, kserve))
    tell(release)
    layout = isvc.fit(
        release,
        executor,
        nodes=nodes,
        tensor_parallel=tp,
        pipeline_parallel=pp,
        head_gpus=head_gpus,
        worker_gpus=worker_gpus,
    )
    service = Service(
        name=name,
        generation=generation,
        tensor_parallel=tp,
        pipeline_parallel=pp,
        nodes=layout.nodes,
        head_gpus=layout.head_gpus,
        worker_gpus=layout.worker_gpus,
    )
    engine = None
    if vllm is not None:
        if python is not None:
            raise MultinodeError(
                ExitCode.USAGE,
                "names an engine, and so does --python.",
                where="--vllm",
                hint="Give one of them.",
            )
        from vllm_multinode.local.versions import engine_of_version

        engine = engine_of_version(vllm, isvc.cache_directory(), typer.echo, executor)
    local = isvc.LocalService(
        service=service,
        model=model,
        executor=executor,
        release=release,
        env=isvc.variables(env or []),
        args=tuple(vllm_args or ()),
        restart=restart,
        engine=engine,
        pin=pin,
        python=isvc.interpreter(python),
    )
    options = RunOptions(
        local=local,
        run=run,
        port=port,
        supervisor_port=supervisor_port,
        logs=log_directory,
        fail_fast=fail_fast,
        families=_families(ip6=ip6, dual_stack=dual_stack),
    )
    if detach:
        return in_background(partial(serve, options))
    serve(options)
    return ExitCode.OK


@app.command()
def status(
    *,
    run: RunName = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show every run's nodes, or one run's."""
    runs = Runs.of_this_user()
    directories = [runs.find(run)] if run or as_json else runs.living()
    if not directories:
        runs.find(None)
    for directory in directories:
        found = RunClient(directory.control).status()
        if info := directory.info:
            found = found.model_copy(update={"url": info.url, "supervisor_url": info.supervisor_url})
        if as_json:
            typer.echo(found.model_dump_json(indent=2))
        else:
            _show(found)


@app.command("logs")
def logs_(
    node: NodeName,
    *,
    run: RunName = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    tail: Annotated[int | None, typer.Option(min=0, help="Only the last lines.")] = None,
) -> None:
    """Print what a node, or a pod that is gone, has written."""
    directory = Runs.of_this_user().find(run)
    client = RunClient(directory.control)
    place = Path(directory.info.logs) if directory.info else directory.logs
    log = logs.log_of(place, client.status(), node)
    typer.echo(logs.last_lines(log, tail), nl=False)
    if follow:
        for chunk in logs.follow(log, directory.path.exists):
            typer.echo(chunk, nl=False)


@app.command()
def ask(
    prompt: Annotated[str, typer.Argument(help="What the model goes on from.")],
    *,
    tokens: Annotated[int, typer.Option(min=1, help="At most.")] = 32,
    run: RunName = None,
) -> None:
    """Print a greedy completion, and the engine's fingerprint; VLLM_API_KEY is presented where it is set."""
    from vllm_multinode.local.run.ask import ask as ask_engine

    directory = Runs.of_this_user().find(run)
    if directory.info is None:
        raise MultinodeError(ExitCode.LOCAL_RUN, "has no API.", where=directory.name)
    answer = ask_engine(directory.info.url, prompt, tokens=tokens, key=os.environ.get(env.API_KEY))
    typer.echo(f"{prompt}{answer.text}")
    typer.echo(f"system_fingerprint: {answer.fingerprint}")


@app.command()
def kill(
    node: NodeName,
    *,
    stay_dead: Annotated[bool, typer.Option("--stay-dead", help="Do not restart it.")] = False,
    run: RunName = None,
) -> None:
    """Kill a node's container at once; it is restarted in place, as the kubelet does."""
    _act("kill", node, run, stay_dead=stay_dead)


@app.command()
def freeze(node: NodeName, *, run: RunName = None) -> None:
    """Stop every process of a node where it is."""
    _act("freeze", node, run)


@app.command()
def thaw(node: NodeName, *, run: RunName = None) -> None:
    """Let a frozen node go on."""
    _act("thaw", node, run)


@app.command()
def cut(node: NodeName, *, run: RunName = None) -> None:
    """Take a node's network link down."""
    _act("cut", node, run)


@app.command()
def join(node: NodeName, *, run: RunName = None) -> None:
    """Take a node's network link up again."""
    _act("join", node, run)


@app.command()
def replace(node: NodeName, *, grace: Grace = None, run: RunName = None) -> None:
    """Delete a node's pod and make a new one, with another name and address."""
    _act("replace", node, run, grace=grace)


@app.command()
def start(node: NodeName, *, run: RunName = None) -> None:
    """Start a node that was stopped, or killed to stay dead."""
    _act("start", node, run)


@app.command()
def stop(
    node: Annotated[str | None, typer.Argument(help="A node; without one the whole run ends.")] = None,
    *,
    grace: Grace = None,
    run: RunName = None,
) -> None:
    """Stop a node, or end the run: SIGTERM, and SIGKILL after the grace period."""
    if node is not None:
        _act("stop", node, run, grace=grace)
        return
    runs = Runs.of_this_user()
    directory = runs.find(run)
    RunClient(directory.control).ask(Request(command="end", grace=grace))
    if not runs.wait_until_gone(directory, timeout=90 if grace is None else grace + 30):
        raise MultinodeError(ExitCode.LOCAL_RUN, "has not ended yet.", where=directory.name)
    typer.echo(f"run {directory.name} ended")


@app.command()
def wait(
    *,
    state: Annotated[
        Literal["serving", "forming", "starting", "recovering", "failed"],
        typer.Option("--for", help="What the head must say."),
    ] = "serving",
    timeout: Annotated[float, typer.Option(min=0, help="Seconds.")] = 300,
    run: RunName = None,
) -> None:
    """Return when the head is in a state."""
    begun = time.monotonic()
    RunClient(Runs.of_this_user().find(run).control).wait_for(state, timeout)
    typer.echo(f"{state} after {time.monotonic() - begun:.1f} s")


@app.command()
def clean() -> None:
    """Remove what runs left that died by violence: run directories; the kernel has removed all else."""
    removed = Runs.of_this_user().clean()
    typer.echo("\n".join(f"removed run {name}" for name in removed) or "nothing to do")


@app.command("make-model")
def make_model_(
    directory: Annotated[Path, typer.Argument(help="The model directory to make.")],
    *,
    layers: Annotated[int, typer.Option(min=1, help="Decoder layers.")] = 4,
    heads: Annotated[int, typer.Option(min=1, help="Attention heads.")] = 4,
    kv_heads: Annotated[int, typer.Option(min=1, help="Key-value heads.")] = 2,
    width: Annotated[int, typer.Option(min=1, help="Hidden size.")] = 64,
    shards: Annotated[int, typer.Option(min=1, help="Files of weights.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights.")] = 0,
) -> None:
    """Make a small random Llama with a tokenizer, the same bytes each time."""
    from vllm_multinode.local.tiny_model.make_model import make_model

    made = make_model(
        directory, layers=layers, heads=heads, kv_heads=kv_heads, width=width, shards=shards, seed=seed
    )
    typer.echo(f"{directory}: {made.parameters:,} parameters, {made.size:,} bytes in {made.shards} shards")


@app.command()
def install(
    *,
    python: Annotated[Path, typer.Option(help="The environment's Python.")] = Path(sys.executable),
) -> None:
    """Install the engine's CPU build and Ray beside this package."""
    from vllm_multinode.local.install import install_engine

    install_engine(python=python, say=typer.echo)


def _families(*, ip6: bool, dual_stack: bool) -> Families:
    """Of the nodes' addresses.

    Raises:
        MultinodeError: both were asked for.
    """
    if ip6 and dual_stack:
        raise MultinodeError(ExitCode.USAGE, "says IPv6 alone, and --dual-stack both.", where="--ip6")
    return "ipv6" if ip6 else "dual-stack" if dual_stack else "ipv4"


def _act(
    action: Action, node: str, run: str | None, *, stay_dead: bool = False, grace: float | None = None
) -> None:
    client = RunClient(Runs.of_this_user().find(run).control)
    typer.echo(client.ask(Request(command=action, node=node, stay_dead=stay_dead, grace=grace)).done)


def _show(status: RunStatus) -> None:
    from rich.console import Console

    from vllm_multinode.local.run.display import table

    console = Console()
    if not console.is_terminal:
        # Into a file or a pipe: a line a node, whatever the width that is assumed there.
        console.width = _FILE_WIDTH
    console.print(table(status, time.time()))
    for node in status.nodes:
        if node.termination:
            typer.echo(f"{node.node} ended with: {node.termination}")
    if status.url:
        typer.echo(f"API at {status.url}, the head's supervisor at {status.supervisor_url}")
