"""The first half of `multinode up`: from a model's name, and the GPUs there are, to a deployment spec."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from vllm_multinode.authoring.planned import model_name, service_name, spec_of
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.cli.model_source import HUB
from vllm_multinode.cli.plan import Wishes, of_offer, of_options
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.model.sources import Source
from vllm_multinode.sizing.planner.choice import Plan
from vllm_multinode.sizing.planner.plan import choose, preferred

if TYPE_CHECKING:
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.offers import Offer

TOKEN_SECRET: Final = "hf-token"  # noqa: S105 - a Secret's name
_NOT_COUNTED: Final = "cpu"
"""No accelerator: a node offers none as a resource."""


@dataclass(frozen=True)
class Hardware:
    """What a service is to run on.

    Attributes:
        gpu: an accelerator or a node shape; empty for what the cluster has free.
        memory: GiB of one, instead of what the catalogue says.
        per_node: of each node, as text.
        nodes: there are.
        may_come: none has to be free now, because nodes are added when pods ask for them.
    """

    gpu: str = ""
    memory: float | None = None
    per_node: str = ""
    nodes: int | None = None
    may_come: bool = False


@dataclass(frozen=True)
class Delivery:
    """Where the weights come from, and where they go.

    Attributes:
        source: as `model.source`.
        secret: with what the source asks for; empty for none.
        storage_class: of the claim; empty for the cluster's default.
        image: of vLLM; empty for the one that is known.
    """

    source: str
    secret: str = ""
    storage_class: str = ""
    image: str = ""


def delivery(model: str, given: Delivery) -> Delivery:
    """The same with what the model's own name says, where nothing was said.

    Raises:
        MultinodeError: USAGE for a folder of this machine, or a name that nobody knows.
    """
    source = given.source or _source_of(model)
    secret = given.secret or (TOKEN_SECRET if source.startswith(HUB) and _is_gated(model) else "")
    return replace(given, source=source, secret=secret)


def planned(
    wishes: Wishes, source: Source, hardware: Hardware, name: str, cluster: "Cluster | None"
) -> tuple[DeploymentSpec, Plan]:
    """The best plan, as a spec that has no source yet.

    Args:
        wishes: what is asked for.
        source: the model.
        hardware: what there is.
        name: of the service; empty for the model's.
        cluster: whose nodes are looked at; None asks nobody.

    Raises:
        MultinodeError: DOES_NOT_FIT: it does not, or the nodes are not free.
    """
    own = name or service_name(model_name(source.name))
    if hardware.gpu or cluster is None:
        asked = of_options(wishes, source, hardware.gpu, hardware.memory, hardware.per_node, hardware.nodes)
        plan, offer = choose(asked), None
    else:
        offers = _offers(cluster, own)
        plans = [(choose(of_offer(wishes, source, one)), one) for one in offers]
        plan, offer = min(plans, key=lambda one: preferred(one[0]))
    spec = spec_of(
        plan, name=name, product=offer.product if offer else "", taints=offer.taints if offer else ()
    )
    counted = plan.request.gpu.resource != _NOT_COUNTED
    if hardware.gpu and cluster is not None and counted and not hardware.may_come:
        _check_free(cluster, spec, plan)
    return spec, plan


def _offers(cluster: "Cluster", service: str) -> "list[Offer]":
    from vllm_multinode.cluster.nodes import gpu_nodes
    from vllm_multinode.cluster.offers import offers

    nodes, notes = gpu_nodes(cluster, freed=(cluster.namespace, service))
    return [replace(one, notes=(*one.notes, *notes)) for one in offers(nodes)]


def _check_free(cluster: "Cluster", spec: DeploymentSpec, plan: Plan) -> None:
    """Hold what was planned against what the nodes have free."""
    from vllm_multinode.cluster.nodes import gpu_nodes
    from vllm_multinode.cluster.offers import offers

    gpu = plan.request.gpu
    try:
        nodes, notes = gpu_nodes(cluster, freed=(cluster.namespace, spec.name))
    except MultinodeError as error:
        if error.code != ExitCode.FORBIDDEN:
            raise
        # Who may not list nodes is not kept from pods that wait for one.
        return
    hint = "Leave --gpu out for what is free, free some, or say --nodes-come where nodes are added on demand."
    try:
        free = [one for offer in offers(nodes, gpu.name, gpu.memory_gib) for one in offer.node_gpus]
    except MultinodeError as error:
        raise MultinodeError(error.code, error.what, where=error.where, hint=hint) from error
    enough = [one for one in free if one >= spec.per_node]
    if len(enough) >= spec.nodes * spec.replicas:
        return
    raise MultinodeError(
        ExitCode.DOES_NOT_FIT,
        f"{spec.nodes} nodes with {spec.per_node} x {gpu.name} free are needed, and {len(enough)} have them"
        f"{' (free: ' + ', '.join(map(str, free)) + ')' if free else ''}. {' '.join(notes)}".rstrip(),
        hint=hint,
    )


def with_source(spec: DeploymentSpec, given: Delivery, fields: dict[str, Any]) -> DeploymentSpec:
    """The plan's spec with a claim of its own, what fills it, and the platform's engine.

    Raises:
        MultinodeError: USAGE, for a value of an option that cannot be.
    """
    body = spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True) | fields
    body["model"] = {
        "source": given.source,
        "size": spec.model.size,
        **({"sourceSecret": given.secret} if given.secret else {}),
        **({"createClaim": {"storageClassName": given.storage_class}} if given.storage_class else {}),
    }
    try:
        return DeploymentSpec.model_validate(body | ({"image": given.image} if given.image else {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = str(first["msg"]).removeprefix("Value error, ")
        hint = "Give --source, --source-secret, --storage-class or --name another value."
        raise MultinodeError(
            ExitCode.USAGE, f"{what}.", where=".".join(map(str, first["loc"])), hint=hint
        ) from error


def decisions(spec: DeploymentSpec, plan: Plan) -> Iterator[str]:
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
    yield f"Model: {spec.model.source} to {spec.storage_uri}{access}"
    yield "Guards: a token for the group, NetworkPolicy, PodDisruptionBudget, requests for CPU and memory"


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
