"""`multinode up`: from a model's name to a service that answers."""

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import click

from vllm_multinode.api.model_source import named_model
from vllm_multinode.api.prepare import Manner, RenderTarget, prepared, release_for
from vllm_multinode.authoring.inputs import read_text
from vllm_multinode.authoring.planned import spec_object, spec_text
from vllm_multinode.authoring.render.publish import service_name
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.cli import completions
from vllm_multinode.cli.answer import Answer, OutputFormat, answering
from vllm_multinode.cli.aside import aside, json_asked, progress
from vllm_multinode.cli.cluster_options import Context, CreateNamespace, Kubeconfig, Login, Namespace, warn
from vllm_multinode.cli.declare import Argument, Option
from vllm_multinode.cli.deploy import apply
from vllm_multinode.cli.engine_options import PipelineParallel, TensorParallel
from vllm_multinode.cli.plan import Wishes
from vllm_multinode.cli.platform_options import ClusterPlatform, Kserve, chosen, named, tell
from vllm_multinode.cli.render import secret_notes
from vllm_multinode.cli.selector import labels_of
from vllm_multinode.cli.up_plan import (
    TOKEN_SECRET,
    Delivery,
    Hardware,
    check_image,
    decisions,
    delivery,
    mirror_note,
    planned,
    settings,
    variables,
    with_source,
)
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.planner.memory import UTILIZATION
from vllm_multinode.sizing.planner.request import CLAIM_GBS

if TYPE_CHECKING:
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.deploy import Deployment
    from vllm_multinode.cluster.images import SupportedEngine
    from vllm_multinode.platforms.releases import Release

_SPEC: Final = "the planned spec"
"""What messages call it: it is in no file."""


def up(
    model: Annotated[
        str,
        Argument(help="hf://org/name[@revision], or a name of the catalogue.", complete=completions.models),
    ],
    *,
    gpu: Annotated[
        str,
        Option(
            help="An accelerator or a node shape; the cluster's free GPUs by default.",
            show_default=False,
            complete=completions.gpus,
        ),
    ] = "",
    gpu_memory: Annotated[
        float | None, Option(help="With --gpu: GiB per GPU, instead of the catalogue's.")
    ] = None,
    gpus_per_node: Annotated[str, Option(help="With --gpu: GPUs per node.", show_default=False)] = "",
    nodes: Annotated[
        int | None,
        Option(min=1, max=1024, help="Nodes there are, or that it may take of --selector's."),
    ] = None,
    selector: Annotated[
        list[str] | None,
        Option("--selector", "-l", help="Only nodes with these labels (KEY=VALUE, by commas or repeated)."),
    ] = None,
    replicas: Annotated[int, Option(min=1, max=1024, help="Number of groups behind a router.")] = 1,
    context_tokens: Annotated[
        int, Option("--context", min=0, help="Tokens of a request; 0 for the model's limit.")
    ] = 0,
    concurrency: Annotated[int, Option(min=1, help="Requests at once.")] = 1,
    nodes_come: Annotated[
        bool,
        Option("--nodes-come", help="With --gpu: the cluster adds nodes on demand; none has to be free now."),
    ] = False,
    executor: Annotated[
        ExecutorName | None,
        Option(
            help="Executor that runs the engine over the nodes; mp by default, if the image supports it.",
            show_default=False,
        ),
    ] = None,
    tensor_parallel: TensorParallel = 0,
    pipeline_parallel: PipelineParallel = 0,
    source: Annotated[
        str, Option(help="Source of the weights, instead of the hub.", show_default=False)
    ] = "",
    source_secret: Annotated[
        str,
        Option(
            help=f"Secret with credentials for the source; {TOKEN_SECRET} for a gated model.",
            show_default=False,
        ),
    ] = "",
    source_env: Annotated[
        list[str] | None,
        Option(
            metavar="NAME[=VALUE]",
            help="Variable of the fetch Job, such as HF_ENDPOINT or HTTPS_PROXY; repeatable.",
        ),
    ] = None,
    storage_class: Annotated[
        str, Option(help="Storage class of the claim; the cluster's default by default.", show_default=False)
    ] = "",
    image: Annotated[str, Option(help="vLLM image; the released one by default.", show_default=False)] = "",
    name: Annotated[
        str, Option(help="Name of the service; the model's by default.", show_default=False)
    ] = "",
    target: Annotated[RenderTarget, Option(help="Kind of object to render.")] = "kserve",
    platform: ClusterPlatform = None,
    kserve: Kserve = None,
    out: Annotated[
        str | None,
        Option(
            help="Write a folder for kubectl apply -k instead of deploying.",
            show_default=False,
            complete=completions.folders,
        ),
    ] = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    namespace: Namespace = "",
    create_namespace: CreateNamespace = False,
    timeout: Annotated[
        float, Option(min=1, help="Seconds to wait for the model, and again to serve.")
    ] = 14400,
    output: OutputFormat = "text",
    kube_context: Context = "",
    kubeconfig: Kubeconfig = "",
    login: Login = "kubeconfig",
) -> int:
    """From a model's name to a service that answers: plan, render, check, deploy and wait.

    multinode up llama-3.1-405b-instruct-fp8 -n models

    multinode up hf://meta-llama/Llama-3.3-70B-Instruct --gpu H100-SXM --out llama/ -o json
    """
    if out == "":
        raise MultinodeError(ExitCode.USAGE, "--out is empty.", hint="Name a folder, or leave it out.")
    passed_on = variables(source_env or (), os.environ)
    brought = delivery(model, Delivery(source, source_secret, passed_on, storage_class, image))
    found = named_model(model)
    asked = named(platform, kserve)
    pool = labels_of(selector or ())
    hardware = Hardware(gpu, gpu_memory, gpus_per_node, nodes, nodes_come, pool, replicas)
    first = executor or DEFAULT_EXECUTOR
    wishes = Wishes(
        context_tokens, concurrency, "auto", first, UTILIZATION, CLAIM_GBS, tensor_parallel,
        pipeline_parallel, settings("", first, image),
    )  # fmt: skip
    # A folder for GPUs that are named needs no cluster.
    alone = bool(out and gpu)
    with (
        answering(output) as answer,
        nullcontext() if alone else _connected(kubeconfig, kube_context, namespace, login) as cluster,
    ):
        release, engine = asked, None
        if cluster is not None:
            release = (
                release_for(cluster, asked, needs_kserve=target == "kserve", say=progress)
                if not out
                else asked
            )
            engine = _engine(cluster, release, image)
        fields = _engine_fields(engine, executor)
        of_platform = wishes
        if engine is not None and fields:
            own: ExecutorName = fields["executor"]
            of_platform = replace(wishes, executor=own, settings=settings(engine.version, own, engine.image))
        spec, plan = planned(of_platform, found, hardware, name, cluster)
        if engine is not None and spec.accelerator.type != "nvidia":
            # The platform's image is made for these alone.
            engine, fields = None, {}
            spec, plan = planned(wishes, found, hardware, name, cluster)
        spec = with_source(spec, brought, fields)
        check_image(spec)
        if note := mirror_note(spec, os.environ):
            answer.line(note)
        for line in (*_of_engine(engine, fields), *decisions(spec, plan)):
            _decided(line, answer)
        text = spec_text(spec, plan)
        if out or cluster is None:
            return _write(spec, out or "", target, platform, kserve, answer)
        manner = Manner(release, target, create_namespace=create_namespace, say=progress, warn=warn)
        given, wanted = prepared(cluster, read_text(text, _SPEC), manner)
        _ask_everything(cluster, wanted)
        _confirm(spec, cluster.namespace, yes=yes)
        answer.fields |= {"spec": spec_object(spec), "deployment": given.name, "namespace": cluster.namespace}
        apply(cluster, given, wanted, answer, timeout=timeout)
        for name, line in _last_words(spec, cluster, target).items():
            answer.fields.setdefault("commands", {})[name] = line
            answer.line(line)
    return ExitCode.OK


def _connected(kubeconfig: str, context: str, namespace: str, login: Login) -> "Cluster":
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.login import require_client

    require_client()
    return Cluster.connect(kubeconfig=kubeconfig, context=context, namespace=namespace, source=login)


def _engine(cluster: "Cluster", release: "Release | None", image: str) -> "SupportedEngine | None":
    from vllm_multinode.cluster.images import supported_engine

    return None if image else supported_engine(cluster, release)


def _engine_fields(engine: "SupportedEngine | None", asked: ExecutorName | None) -> dict[str, Any]:
    if engine is None:
        return {}
    from vllm_multinode.cluster.images import fields_of

    return fields_of(engine, asked)


def _of_engine(engine: "SupportedEngine | None", fields: dict[str, Any]) -> Iterator[str]:
    if engine is None:
        return
    from vllm_multinode.cluster.images import sentences

    yield from sentences(engine, fields)


def _ask_everything(cluster: "Cluster", wanted: "Deployment") -> None:
    """Ask the API server for every object, with every webhook and quota, before the user is asked."""
    from vllm_multinode.cluster import deploy as deploying

    deploying.deploy(cluster, replace(wanted, dry_run=True))


def _decided(line: str, answer: Answer) -> None:
    """On standard output; beside JSON on standard error, as the document has the spec."""
    if answer.json:
        aside(line)
    else:
        answer.line(line)


def _write(
    spec: DeploymentSpec,
    out: str,
    target: RenderTarget,
    platform: str | None,
    kserve: str | None,
    answer: Answer,
) -> int:
    from vllm_multinode.api.source_check import check_here
    from vllm_multinode.authoring.folder import write
    from vllm_multinode.authoring.kept import with_spec
    from vllm_multinode.authoring.render import render

    release = chosen(platform, kserve)
    tell(release)
    made = render(spec, release, target)
    check_here(made.documents, aside)
    for note in (*made.notes, *secret_notes(spec)):
        aside(f"note: {note}")
    paths = write(Path(out), with_spec(made, spec, release, target))
    answer.line(
        f"Written: {out}. Apply it with `kubectl apply -k {out}`.",
        spec=spec_object(spec),
        files=[str(path) for path in paths],
    )
    return ExitCode.OK


def _confirm(spec: DeploymentSpec, namespace: str, *, yes: bool) -> None:
    """Ask once: from here on it costs accelerators."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise MultinodeError(
            ExitCode.USAGE, "confirmation is needed, and standard input is not a terminal.", hint="Add --yes."
        )
    click.confirm(f"Deploy {spec.name} to namespace {namespace}?", abort=True, err=json_asked())


def _last_words(spec: DeploymentSpec, cluster: "Cluster", target: RenderTarget) -> dict[str, str]:
    """The commands that send the model a request, and that delete everything again."""
    from vllm_multinode.cluster.forward import forward_command, key_header

    if target == "kserve" and spec.replicas == 1:
        forward = forward_command(cluster.namespace, f"deployment/{spec.name}-predictor")
    else:
        forward = forward_command(cluster.namespace, f"service/{service_name(spec)}", 80)
    body = f'{{"model": "{spec.name}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    key = ""
    if spec.api_key is not None:
        key = key_header(cluster.namespace, spec.api_key.name, spec.api_key.key)
    url = "http://localhost:8080/v1/chat/completions"
    return {
        "forward": forward,
        "request": f"curl {url} -H 'Content-Type: application/json'{key} -d '{body}'",
        "delete": f"multinode delete {spec.name} -n {cluster.namespace}    # deletes all of it",
    }
