"""`multinode up`: from a model's name to a service that answers."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from pydantic import ValidationError

from vllm_multinode.authoring.inputs import read_text
from vllm_multinode.authoring.planned import spec_of, spec_text
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.cli.cluster_options import Context, Kubeconfig, Login, Namespace, say
from vllm_multinode.cli.deploy import RenderTarget, apply, check, release_for
from vllm_multinode.cli.engine_options import PipelineParallel, TensorParallel
from vllm_multinode.cli.model_source import HUB, named_model
from vllm_multinode.cli.plan import Wishes, cluster_offers, of_offer, of_options
from vllm_multinode.cli.platform_options import NAMES, VARIABLE, Kserve, chosen, named, tell
from vllm_multinode.cli.render import secret_notes
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.planner.choice import Plan
from vllm_multinode.sizing.planner.memory import UTILIZATION
from vllm_multinode.sizing.planner.plan import choose, preferred
from vllm_multinode.sizing.planner.request import CLAIM_GBS, Settings

if TYPE_CHECKING:
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.deploy import Deployment
    from vllm_multinode.cluster.given import Given
    from vllm_multinode.cluster.offers import Offer
    from vllm_multinode.platforms.releases import Release

_SPEC: Final = "the planned spec"
"""What messages call it: it is in no file."""
_TOKEN_SECRET: Final = "hf-token"  # noqa: S105 - a Secret's name


def up(
    model: Annotated[str, typer.Argument(help="hf://org/name[@revision], or a name of the catalogue.")],
    *,
    gpu: Annotated[
        str,
        typer.Option(
            help="An accelerator or a node shape; what the cluster has free by default.", show_default=False
        ),
    ] = "",
    gpus_per_node: Annotated[str, typer.Option(help="With --gpu: GPUs of a node.", show_default=False)] = "",
    nodes: Annotated[int | None, typer.Option(min=1, max=1024, help="With --gpu: nodes there are.")] = None,
    context_tokens: Annotated[
        int, typer.Option("--context", min=0, help="Tokens of a request; 0 for the model's limit.")
    ] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 1,
    executor: Annotated[
        ExecutorName, typer.Option(help="What spreads the engine over the nodes.")
    ] = DEFAULT_EXECUTOR,
    tensor_parallel: TensorParallel = 0,
    pipeline_parallel: PipelineParallel = 0,
    source: Annotated[
        str, typer.Option(help="Where the weights come from, instead of the hub.", show_default=False)
    ] = "",
    source_secret: Annotated[
        str,
        typer.Option(help=f"Secret for the source; {_TOKEN_SECRET} for a gated model.", show_default=False),
    ] = "",
    storage_class: Annotated[
        str, typer.Option(help="Of the claim; the cluster's default by default.", show_default=False)
    ] = "",
    image: Annotated[
        str, typer.Option(help="Image of vLLM; its released one by default.", show_default=False)
    ] = "",
    name: Annotated[
        str, typer.Option(help="Of the service; the model's by default.", show_default=False)
    ] = "",
    target: Annotated[RenderTarget, typer.Option(help="What it is rendered for.")] = "kserve",
    platform: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"{NAMES}; {VARIABLE}, or what the cluster runs, by default."),
    ] = None,
    kserve: Kserve = None,
    out: Annotated[
        str, typer.Option(help="Write the folder for kubectl apply -k instead.", show_default=False)
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    namespace: Namespace = "",
    create_namespace: Annotated[
        bool, typer.Option("--create-namespace", help="Make the namespace where it is missing.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for the model, and again to serve.")
    ] = 14400,
    kube_context: Context = "",
    kubeconfig: Kubeconfig = "",
    login: Login = "kubeconfig",
) -> int:
    """From a model's name to a service that answers: plan, render, check, deploy and wait."""
    weights = source or _source_of(model)
    found = named_model(model)
    wishes = Wishes(
        context_tokens, concurrency, "auto", executor, UTILIZATION, CLAIM_GBS, tensor_parallel,
        pipeline_parallel, Settings(),
    )  # fmt: skip
    if gpu:
        plans: list[tuple[Plan, Offer | None]] = [
            (choose(of_options(wishes, found, gpu, None, gpus_per_node, nodes)), None)
        ]
    else:
        offers = cluster_offers(kubeconfig, kube_context, (), "", None)
        plans = [(choose(of_offer(wishes, found, offer)), offer) for offer in offers]
    best, offer = min(plans, key=lambda one: preferred(one[0]))
    planned = spec_of(
        best, name=name, product=offer.product if offer else "", taints=offer.taints if offer else ()
    )
    secret = source_secret or (_TOKEN_SECRET if weights.startswith(HUB) and _is_gated(model) else "")
    spec = _with_source(planned, weights, secret, storage_class, image)
    for line in _decisions(spec, best):
        say(line)
    asked = named(platform, kserve)
    if out:
        return _write(spec, best, out, target, platform, kserve)
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.login import require_client

    require_client()
    with Cluster.connect(
        kubeconfig=kubeconfig, context=kube_context, namespace=namespace, source=login
    ) as cluster:
        given, wanted = _prepared(
            cluster, spec_text(spec, best), asked, target,
            has_image=spec.image is not None, create_namespace=create_namespace,
        )  # fmt: skip
        _confirm(spec, cluster.namespace, yes=yes)
        apply(cluster, given, wanted, timeout=timeout)
        for line in _last_words(spec, cluster, target):
            say(line)
    return ExitCode.OK


def _source_of(model: str) -> str:
    if model.startswith(HUB):
        return model
    if Path(model).exists():
        raise MultinodeError(
            ExitCode.USAGE,
            "is a folder of this machine, which no Job in the cluster can read.",
            where=model,
            hint="Name it as hf://org/name, or say with --source where the cluster finds it.",
        )
    return HUB + catalogue.model(model).name


def _is_gated(model: str) -> bool:
    try:
        return bool(catalogue.model(model.removeprefix(HUB).partition("@")[0]).gated)
    except MultinodeError:
        return False


def _with_source(
    spec: DeploymentSpec, source: str, secret: str, storage_class: str, image: str
) -> DeploymentSpec:
    """The plan's spec with a claim of its own, and what fills it."""
    body = spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    body["model"] = {
        "source": source,
        "size": spec.model.size,
        **({"sourceSecret": secret} if secret else {}),
        **({"createClaim": {"storageClassName": storage_class}} if storage_class else {}),
    }
    try:
        return DeploymentSpec.model_validate(body | ({"image": image} if image else {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = str(first["msg"]).removeprefix("Value error, ")
        hint = "Give --source, --source-secret, --storage-class or --name another value."
        raise MultinodeError(
            ExitCode.USAGE, f"{what}.", where=".".join(map(str, first["loc"])), hint=hint
        ) from error


def _decisions(spec: DeploymentSpec, plan: Plan) -> Iterator[str]:
    """What was decided, one thing a line."""
    from vllm_multinode.authoring.render.companions import claim_size

    sizes = spec.parallelism
    yield f"Nodes: {spec.nodes} with {spec.per_node} x {plan.request.gpu.name} each"
    yield f"Parallelism: TP {sizes.tensor}, PP {sizes.pipeline}, executor {spec.executor}"
    yield f"Context: {spec.context} tokens"
    wanted = spec.model.create_claim
    named_class = (wanted.storage_class_name if wanted else None) or "the default class"
    yield f"Claim: {spec.claim}, {claim_size(spec)}, ReadWriteMany, of {named_class}"
    access = f", with Secret {spec.model.source_secret}" if spec.model.source_secret else ""
    yield "Guards: a token for the group, NetworkPolicy, PodDisruptionBudget, requests for CPU and memory"
    yield f"Model: {spec.model.source} to {spec.storage_uri}{access}"


def _write(
    spec: DeploymentSpec, plan: Plan, out: str, target: RenderTarget, platform: str | None, kserve: str | None
) -> int:
    from vllm_multinode.authoring.folder import write
    from vllm_multinode.authoring.render import render

    release = chosen(platform, kserve)
    tell(release)
    made = render(spec, release, target)
    for note in (*made.notes, *secret_notes(spec)):
        typer.echo(f"note: {note}", err=True)
    write(Path(out), {name: made.text(name) for name in made.files})
    say(f"Written: {out}. Apply it with `kubectl apply -k {out}`.")
    return ExitCode.OK


def _prepared(
    cluster: "Cluster",
    text: str,
    asked: "Release | None",
    target: RenderTarget,
    *,
    has_image: bool,
    create_namespace: bool,
) -> "tuple[Given, Deployment]":
    """The service as it will be written: everything about it is asked before anything is.

    Raises:
        MultinodeError: what will not serve, is missing, or is refused by the cluster.
    """
    from vllm_multinode.cluster import deploy as deploying
    from vllm_multinode.cluster import given as givens
    from vllm_multinode.cluster import needs
    from vllm_multinode.cluster.images import supported_image
    from vllm_multinode.cluster.token import with_tokens

    given = givens.for_release(read_text(text, _SPEC), asked, target)
    release = release_for(cluster, given, asked)
    image = "" if has_image else supported_image(cluster, release)
    if image:
        say(f"Image: {image}, which {release.label if release else ''} supports")
        text = f"{text}image: {image}\n"
    if image or release != asked:
        given = givens.for_release(read_text(text, _SPEC), release, target)
    check(cluster, given, release, force=False)
    wanted = deploying.Deployment(
        name=given.name,
        bodies=with_tokens(cluster, [document.body for document in given.documents]),
        create_namespace=create_namespace,
    )
    needs.check(cluster, wanted.bodies)
    # With every webhook and quota.
    deploying.deploy(cluster, replace(wanted, dry_run=True))
    return given, wanted


def _confirm(spec: DeploymentSpec, namespace: str, *, yes: bool) -> None:
    """Ask once: from here on it costs accelerators."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise MultinodeError(ExitCode.USAGE, "there is nobody to ask here.", hint="Say --yes.")
    typer.confirm(f"Deploy {spec.name} to namespace {namespace}?", abort=True)


def _last_words(spec: DeploymentSpec, cluster: "Cluster", target: RenderTarget) -> Iterator[str]:
    """How to ask the model something, and how to take all of it away."""
    service = f"{spec.name}-api" if target == "lws" else f"{spec.name}-predictor"
    body = f'{{"model": "{spec.name}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    yield f"kubectl port-forward -n {cluster.namespace} service/{service} 8080:80"
    yield f"curl http://localhost:8080/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'"
    yield f"multinode delete {spec.name} -n {cluster.namespace}    # takes all of it away"
