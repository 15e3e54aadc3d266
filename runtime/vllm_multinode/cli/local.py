"""`multinode local`: the same pods as processes on this machine."""

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import click

from vllm_multinode.cli import completions
from vllm_multinode.cli.answer import Output, OutputFormat, as_json
from vllm_multinode.cli.aside import progress
from vllm_multinode.cli.declare import Argument, Option, group
from vllm_multinode.cli.logs import Follow, Previous, Tail, Wanted
from vllm_multinode.cli.logs import show as show_logs
from vllm_multinode.cli.platform_options import Kserve, Platform, chosen, tell
from vllm_multinode.cli.service_options import Asked
from vllm_multinode.cli.status import Interval, Watch
from vllm_multinode.cli.status import show as show_status
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.run import isvc
from vllm_multinode.local.run.client import RunClient
from vllm_multinode.local.rundir import Runs
from vllm_multinode.local.world import refusals
from vllm_multinode.local.world.pod_spec import Restart
from vllm_multinode.local.world.protocol import Action, Families, Request
from vllm_multinode.platforms.kserve.environment import Service
from vllm_multinode.platforms.releases import require_multi_node


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

RunName = Annotated[
    str | None,
    Option("--run", help="Name of the run; needed if there are several.", complete=completions.runs),
]
NodeName = Annotated[str, Argument(help="A node (head, worker-1) or its pod.", complete=completions.nodes)]
AnyNode = Annotated[
    str,
    Argument(
        metavar="[NODE]",
        help="A node, its rank or its pod; all by default.",
        show_default=False,
        complete=completions.nodes,
    ),
]
Grace = Annotated[float | None, Option(min=0, help="Seconds between SIGTERM and SIGKILL; 60 by default.")]


@app.declare("run")
def run_(
    *,
    model: Annotated[Path, Option(help="The model directory.")],
    nodes: Annotated[
        int | None, Option(min=1, help="Nodes, including the head; by default as many as KServe creates.")
    ] = None,
    tp: Annotated[int, Option(min=1, help="Tensor parallel size.")] = 1,
    pp: Annotated[int, Option(min=1, help="Pipeline parallel size.")] = 1,
    executor: Annotated[
        ExecutorName, Option(help="Executor that runs the engine over the nodes.")
    ] = DEFAULT_EXECUTOR,
    platform: Platform = None,
    kserve: Kserve = None,
    head_gpus: Annotated[
        int, Option(min=0, help="Accelerators of the head; 0 for what KServe works out.")
    ] = 0,
    worker_gpus: Annotated[
        int, Option(min=0, help="Accelerators of each worker; 0 for what KServe works out.")
    ] = 0,
    name: Annotated[str, Option(help="The InferenceService's name.")] = "llm",
    generation: Annotated[int, Option(min=1, help="Its generation.")] = 1,
    port: Annotated[
        int | None, Option(min=0, max=65535, help="Port on this machine; 0 for any free port.")
    ] = None,
    supervisor_port: Annotated[
        int,
        Option(min=0, max=65535, help="Port on this machine for the head's supervisor; 0 for any free port."),
    ] = 0,
    run: RunName = None,
    env: Annotated[list[str] | None, Option(help="NAME=VALUE for every node; repeatable.")] = None,
    restart: Annotated[
        Restart, Option(help="Restart policy of the containers, as the kubelet applies it.")
    ] = "always",
    fail_fast: Annotated[
        bool, Option(help="Exit if a node refuses its settings before the group serves.")
    ] = True,
    pin: Annotated[bool, Option("--pin", help="Pin each node to its own CPU cores.")] = False,
    ip6: Annotated[bool, Option("--ip6", help="Give the nodes IPv6 addresses only.")] = False,
    dual_stack: Annotated[
        bool, Option("--dual-stack", help="Give the nodes an address of each family, IPv4 first.")
    ] = False,
    vllm: Annotated[
        str | None,
        Option(help="Version of vLLM, in a cached environment; by default the installed one."),
    ] = None,
    log_directory: Annotated[Path | None, Option("--logs", help="Folder for the nodes' logs.")] = None,
    detach: Annotated[bool, Option("--detach", help="Return when the nodes are up.")] = False,
    python: Annotated[
        Path | None,
        Option(help="Run the launcher's zip application with this Python, as in a released image."),
    ] = None,
    output: OutputFormat = "text",
    vllm_args: Annotated[list[str] | None, Argument(help="After --: arguments of vLLM on the head.")] = None,
) -> int:
    """Serve a model over several nodes of this machine, and show them, until Ctrl-C.

    multinode local run --model /tmp/model --nodes 2 --pp 2

    multinode local run --model /tmp/model --nodes 2 --pp 2 --executor ray -- --max-model-len 512
    """
    if output == "json" and not detach:
        what = "a run in the foreground prints text."
        raise MultinodeError(ExitCode.USAGE, what, where="-o json", hint="Add --detach, or leave it out.")
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
                "cannot be combined with --python; each names an engine.",
                where="--vllm",
                hint="Give one of them.",
            )
        from vllm_multinode.local.versions import engine_of_version

        engine = engine_of_version(vllm, isvc.cache_directory(), progress, executor)
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
        return in_background(partial(serve, options), partial(_tell_run, output))
    serve(options)
    return ExitCode.OK


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
    node: Annotated[
        str, Argument(metavar="[NODE]", help="A node, its rank or its pod; all by default.")
    ] = "",
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
    _print(
        output,
        f"{prompt}{answer.text}\nsystem_fingerprint: {answer.fingerprint}",
        {"text": answer.text, "system_fingerprint": answer.fingerprint},
    )


@app.declare()
def kill(
    node: NodeName,
    *,
    stay_dead: Annotated[bool, Option("--stay-dead", help="Do not restart it.")] = False,
    run: RunName = None,
    output: OutputFormat = "text",
) -> None:
    """Kill a node's container at once; it is restarted in place, as the kubelet does.

    multinode local kill worker-1

    multinode local kill worker-1 --stay-dead
    """
    _act("kill", node, run, output, stay_dead=stay_dead)


@app.declare()
def freeze(node: NodeName, *, run: RunName = None, output: OutputFormat = "text") -> None:
    """Stop every process of a node where it is.

    multinode local freeze worker-1

    multinode local freeze head --run llm-1
    """
    _act("freeze", node, run, output)


@app.declare()
def thaw(node: NodeName, *, run: RunName = None, output: OutputFormat = "text") -> None:
    """Let a frozen node go on.

    multinode local thaw worker-1

    multinode local thaw head --run llm-1
    """
    _act("thaw", node, run, output)


@app.declare()
def cut(node: NodeName, *, run: RunName = None, output: OutputFormat = "text") -> None:
    """Take a node's network link down.

    multinode local cut worker-1

    multinode local cut head --run llm-1
    """
    _act("cut", node, run, output)


@app.declare()
def join(node: NodeName, *, run: RunName = None, output: OutputFormat = "text") -> None:
    """Take a node's network link up again.

    multinode local join worker-1

    multinode local join head --run llm-1
    """
    _act("join", node, run, output)


@app.declare()
def replace(
    node: NodeName, *, grace: Grace = None, run: RunName = None, output: OutputFormat = "text"
) -> None:
    """Delete a node's pod and make a new one, with another name and address.

    multinode local replace worker-1

    multinode local replace worker-1 --grace 0
    """
    _act("replace", node, run, output, grace=grace)


@app.declare()
def start(node: NodeName, *, run: RunName = None, output: OutputFormat = "text") -> None:
    """Start a node that was stopped, or killed to stay dead.

    multinode local start worker-1

    multinode local start head --run llm-1
    """
    _act("start", node, run, output)


@app.declare()
def stop(
    node: Annotated[
        str | None, Argument(help="A node; the whole run by default.", complete=completions.nodes)
    ] = None,
    *,
    grace: Grace = None,
    run: RunName = None,
    output: OutputFormat = "text",
) -> None:
    """Stop a node, or end the run: SIGTERM, and SIGKILL after the grace period.

    multinode local stop

    multinode local stop worker-1 --grace 5
    """
    if node is not None:
        _act("stop", node, run, output, grace=grace)
        return
    runs = Runs.of_this_user()
    directory = runs.find(run)
    RunClient(directory.control).ask(Request(command="end", grace=grace))
    if not runs.wait_until_gone(directory, timeout=90 if grace is None else grace + 30):
        raise MultinodeError(ExitCode.LOCAL_RUN, "has not ended yet.", where=directory.name)
    _print(output, f"run {directory.name} ended", {"run": directory.name, "action": "end"})


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
    _print(output, f"{state} after {seconds} s", fields)


@app.declare()
def clean(*, output: OutputFormat = "text") -> None:
    """Remove what runs left that died by violence: run directories; the kernel has removed all else.

    multinode local clean

    multinode local clean --quiet
    """
    removed = Runs.of_this_user().clean()
    text = "\n".join(f"removed run {name}" for name in removed) or "nothing to remove"
    _print(output, text, {"removed": list(removed)})


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
    _print(
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


def _families(*, ip6: bool, dual_stack: bool) -> Families:
    """Of the nodes' addresses.

    Raises:
        MultinodeError: both were asked for.
    """
    if ip6 and dual_stack:
        raise MultinodeError(ExitCode.USAGE, "cannot be combined with --dual-stack.", where="--ip6")
    return "ipv6" if ip6 else "dual-stack" if dual_stack else "ipv4"


def _act(
    action: Action,
    node: str,
    run: str | None,
    output: Output,
    *,
    stay_dead: bool = False,
    grace: float | None = None,
) -> None:
    directory = Runs.of_this_user().find(run)
    request = Request(command=action, node=node, stay_dead=stay_dead, grace=grace)
    done = RunClient(directory.control).ask(request).done
    _print(output, done, {"run": directory.name, "node": node, "action": action, "result": done})


def _tell_run(output: Output, name: str) -> None:
    """A run that is up in the background."""
    info = Runs.of_this_user().find(name).info
    addresses = {"url": info.url, "supervisorUrl": info.supervisor_url} if info else {}
    _print(output, name, {"run": name, **addresses})


def _print(output: Output, text: str, fields: dict[str, Any]) -> None:
    click.echo(as_json(fields) if output == "json" else text)
