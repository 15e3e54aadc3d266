"""`multinode local run`: serves a model over several nodes of this machine."""

from functools import partial
from pathlib import Path
from typing import Annotated

from vllm_multinode.cli.answer import Output, OutputFormat
from vllm_multinode.cli.aside import progress
from vllm_multinode.cli.declare import Argument, Option
from vllm_multinode.cli.local_answers import RunName, say
from vllm_multinode.cli.platform_options import Kserve, Platform, chosen, tell
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.run import isvc
from vllm_multinode.local.rundir import Runs
from vllm_multinode.local.world import refusals
from vllm_multinode.local.world.pod_spec import Restart
from vllm_multinode.local.world.protocol import Families
from vllm_multinode.platforms.kserve.environment import Service
from vllm_multinode.platforms.releases import require_multi_node


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
        bool, Option(help="Exit if a node rejects its settings before the group serves.")
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


def _families(*, ip6: bool, dual_stack: bool) -> Families:
    """Of the nodes' addresses.

    Raises:
        MultinodeError: both were asked for.
    """
    if ip6 and dual_stack:
        raise MultinodeError(ExitCode.USAGE, "cannot be combined with --dual-stack.", where="--ip6")
    return "ipv6" if ip6 else "dual-stack" if dual_stack else "ipv4"


def _tell_run(output: Output, name: str) -> None:
    """A run that is up in the background."""
    info = Runs.of_this_user().find(name).info
    addresses = {"url": info.url, "supervisorUrl": info.supervisor_url} if info else {}
    say(output, name, {"run": name, **addresses})
