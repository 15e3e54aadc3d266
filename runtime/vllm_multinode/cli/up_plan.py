"""The first half of `multinode up`: from a model's name, and the GPUs there are, to a deployment spec."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from vllm_multinode.api.model_source import HUB
from vllm_multinode.authoring.planned import model_name, service_name, spec_of
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.cli.plan import Wishes, of_offer, of_options
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import EXECUTORS, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.versions import LAST_WITH_RAY
from vllm_multinode.engines.vllm import vllm_named
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.model.sources import Source, kind_of
from vllm_multinode.sizing.planner.choice import Plan
from vllm_multinode.sizing.planner.plan import choose, preferred
from vllm_multinode.sizing.planner.request import Settings

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
        pool: labels of the nodes that may be taken.
        replicas: groups that are to run side by side.
    """

    gpu: str = ""
    memory: float | None = None
    per_node: str = ""
    nodes: int | None = None
    may_come: bool = False
    pool: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 1


@dataclass(frozen=True)
class Delivery:
    """Where the weights come from, and where they go.

    Attributes:
        source: as `model.source`.
        secret: with what the source asks for; empty for none.
        variables: of the Job that fetches.
        storage_class: of the claim; empty for the cluster's default.
        image: of vLLM; empty for the one that is known.
    """

    source: str
    secret: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
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
        offers = _offers(cluster, own, hardware)
        plans = [(choose(of_offer(wishes, source, one)), one) for one in offers]
        plan, offer = min(plans, key=lambda one: preferred(one[0]))
    _check_replicas(plan, hardware.replicas)
    spec = spec_of(
        plan, name=name, product=offer.product if offer else "", taints=offer.taints if offer else (),
        pool=hardware.pool, pool_nodes=None if hardware.may_come else hardware.nodes,
    )  # fmt: skip
    spec = spec.model_copy(update={"replicas": hardware.replicas}) if hardware.replicas > 1 else spec
    counted = plan.request.gpu.resource != _NOT_COUNTED
    if hardware.gpu and cluster is not None and counted and not hardware.may_come:
        _check_free(cluster, spec, plan, hardware.pool)
    return spec, plan


def _offers(cluster: "Cluster", service: str, hardware: Hardware) -> "list[Offer]":
    from vllm_multinode.cluster.nodes import gpu_nodes
    from vllm_multinode.cluster.offers import offers

    nodes, notes = gpu_nodes(cluster, selector=hardware.pool, freed=(cluster.namespace, service))
    return [replace(one, notes=(*one.notes, *notes)) for one in offers(nodes, most=hardware.nodes)]


def _check_replicas(plan: Plan, replicas: int) -> None:
    """Hold the replicas against the nodes there are, where their number is known."""
    if not plan.request.node_gpus or not plan.fits or plan.replicas >= replicas:
        return
    label = plan.best.label if plan.best else ""
    raise MultinodeError(
        ExitCode.DOES_NOT_FIT,
        f"{replicas} replicas of {label} are requested, but the nodes have room for {plan.replicas}.",
        hint="Ask for fewer --replicas or less --context, or add nodes.",
    )


def _check_free(cluster: "Cluster", spec: DeploymentSpec, plan: Plan, pool: Mapping[str, str]) -> None:
    """Hold what was planned against what the nodes have free."""
    from vllm_multinode.cluster.nodes import gpu_nodes
    from vllm_multinode.cluster.offers import offers

    gpu = plan.request.gpu
    try:
        nodes, notes = gpu_nodes(cluster, selector=pool, freed=(cluster.namespace, spec.name))
    except MultinodeError as error:
        if error.code != ExitCode.FORBIDDEN:
            raise
        # Who may not list nodes is not kept from pods that wait for one.
        return
    hint = "Omit --gpu to plan for free GPUs, free some, or add --nodes-come if nodes are added on demand."
    try:
        free = [one for offer in offers(nodes, gpu.name, gpu.memory_gib) for one in offer.node_gpus]
    except MultinodeError as error:
        raise MultinodeError(error.code, error.what, where=error.where, hint=hint) from error
    enough = [one for one in free if one >= spec.per_node]
    wanted = spec.nodes * spec.replicas
    if len(enough) >= wanted:
        return
    raise MultinodeError(
        ExitCode.DOES_NOT_FIT,
        f"{wanted} nodes with {spec.per_node} x {gpu.name} free are needed, and {len(enough)} have them"
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
        **({"sourceEnv": dict(given.variables)} if given.variables else {}),
        **({"createClaim": {"storageClassName": given.storage_class}} if given.storage_class else {}),
    }
    try:
        return DeploymentSpec.model_validate(body | ({"image": given.image} if given.image else {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = str(first["msg"]).removeprefix("Value error, ")
        hint = "Give --source, --source-secret, --source-env, --storage-class or --name another value."
        where = ".".join(_written(one) for one in first["loc"])
        raise MultinodeError(ExitCode.USAGE, f"{what}.", where=where, hint=hint) from error


def _written(step: int | str) -> str:
    """A step of a field's path as a spec has it; names of variables stay as they are."""
    return to_camel(step) if isinstance(step, str) and step.islower() else str(step)


def decisions(spec: DeploymentSpec, plan: Plan) -> Iterator[str]:
    """What was decided, one thing a line."""
    from vllm_multinode.authoring.render import router
    from vllm_multinode.authoring.render.companions import claim_size

    sizes = spec.parallelism
    groups = f"{spec.replicas} groups of {spec.nodes}" if spec.replicas > 1 else f"{spec.nodes}"
    yield f"Nodes: {groups} with {spec.per_node} x {plan.request.gpu.name} each"
    if spec.has_router:
        yield f"Replicas: {spec.replicas}, behind {router.PODS} pods of {router.VLLM_ROUTER}"
    yield f"Parallelism: TP {sizes.tensor}, PP {sizes.pipeline}, executor {spec.executor}"
    yield f"Context: {spec.context} tokens"
    wanted = spec.model.create_claim
    named_class = (wanted.storage_class_name if wanted else None) or "the default class"
    yield f"Claim: {spec.claim}, {claim_size(spec)}, ReadWriteMany, of {named_class}"
    access = f", with Secret {spec.model.source_secret}" if spec.model.source_secret else ""
    yield f"Model: {spec.model.source} to {spec.storage_uri}{access}"
    yield "Guards: a token for the group, NetworkPolicy, PodDisruptionBudget, requests for CPU and memory"


def settings(engine: str, executor: ExecutorName, image: str) -> Settings:
    """What the plan takes the engine for.

    Args:
        engine: version of the platform's, which will run; empty for none.
        executor: that it is started with.
        image: of the user's own, whose version nobody knows.
    """
    if engine:
        return Settings(version=vllm_named(engine))
    if EXECUTORS[executor].needs_ray and not image:
        return Settings(version=vllm_named(LAST_WITH_RAY))
    return Settings()


def variables(given: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Variables from NAME=VALUE, or NAME for what the environment has.

    Raises:
        MultinodeError: USAGE, for a name that the environment lacks.
    """
    found = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals and name not in environment:
            what = f"--source-env {name}: it is not set here."
            raise MultinodeError(ExitCode.USAGE, what, hint=f"Write {name}=VALUE.")
        found[name] = value if equals else environment[name]
    return found


def mirror_note(spec: DeploymentSpec, environment: Mapping[str, str]) -> str:
    """What is said where this machine asks a mirror of the hub, and the Job would not; empty otherwise."""
    here = environment.get(env.HF_ENDPOINT)
    if not here or not (spec.model.source or "").startswith(HUB) or env.HF_ENDPOINT in spec.model.source_env:
        return ""
    return (
        f"note: {env.HF_ENDPOINT} is set here, and the Job asks the hub itself; "
        f"--source-env {env.HF_ENDPOINT} hands it on"
    )


def check_image(spec: DeploymentSpec) -> None:
    """Refuse what only an image that nobody has built would run.

    Raises:
        MultinodeError: USAGE.
    """
    if spec.install == "configMap" or spec.image is not None:
        return
    raise MultinodeError(
        ExitCode.USAGE,
        f"no released image of vLLM for accelerators of type {spec.accelerator.type} is known to have Ray.",
        where="--executor ray",
        hint="Name an image that has it with --image (scripts/build-image builds one), or omit --executor.",
    )


def _source_of(model: str) -> str:
    if model.startswith(HUB):
        return model
    if any(kind_of(Path(model))):
        raise MultinodeError(
            ExitCode.USAGE,
            "is a folder on this machine, which the cluster cannot read.",
            where=model,
            hint="Give hf://org/name, or the cluster's source of the weights with --source.",
        )
    return HUB + catalogue.model(model).name


def _is_gated(model: str) -> bool:
    try:
        return bool(catalogue.model(model.removeprefix(HUB).partition("@")[0]).gated)
    except MultinodeError:
        return False
