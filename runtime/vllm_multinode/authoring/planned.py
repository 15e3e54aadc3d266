"""From a plan to the deployment spec that `render` takes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from vllm_multinode.authoring import planned_nodes as nodes
from vllm_multinode.authoring.spec import (
    Accelerator,
    Claim,
    DeploymentSpec,
    Model,
    Network,
    NodePool,
    Parallelism,
    Placement,
    Toleration,
)
from vllm_multinode.authoring.spec.accelerators import RESOURCES, AcceleratorType
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import EXECUTORS
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.faults import first_fault
from vllm_multinode.k8s.emit import to_yaml
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.planner.choice import Choice, Plan
from vllm_multinode.sizing.planner.memory import UTILIZATION, default_batch
from vllm_multinode.sizing.planner.request import CLAIM_GBS

CLAIM: Final = "models"
_LONGEST_NAME: Final = 40
_GIB: Final = 1 << 30
# For scheduling and for pulling images, as `render` counts them.
_BEFORE_START: Final = 600
_TYPES: Final[Mapping[str, AcceleratorType]] = {
    **{resource: kind for kind, resource in RESOURCES.items() if kind != "none"},
    "gpu.intel.com/xe": "intel",
    "cpu": "none",
}


def spec_of(
    plan: Plan,
    *,
    name: str = "",
    claim: str = "",
    path: str | None = None,
    product: str = "",
    taints: Sequence[tuple[str, str, str]] = (),
    speculative: str = "",
    pool: Mapping[str, str] | None = None,
    pool_nodes: int | None = None,
) -> DeploymentSpec:
    """The best choice of a plan as a deployment spec.

    Args:
        plan: one that fits.
        name: of the service; derived from the model's where it is empty.
        claim: that holds the model; empty for one filled from the hub, or "models" where no hub has it.
        path: the model's folder in the claim; the model's own name where it is None.
        product: label of the nodes' accelerators, to run on these only; the catalogue's where it is empty.
        taints: (key, value, effect) to tolerate.
        speculative: the engine's --speculative-config that was planned with.
        pool: labels of the nodes that were planned with.
        pool_nodes: how many of them there are to take; None for any number.

    Raises:
        MultinodeError: DOES_NOT_FIT, with the smallest that would; SPEC for a name that cannot be.
    """
    best = plan.best
    if best is None or not plan.fits:
        would = f"the smallest that would: {plan.smallest.label}." if plan.smallest else ""
        what = f"{plan.request.source.name} does not fit, so there is no spec to write"
        raise MultinodeError(ExitCode.DOES_NOT_FIT, f"{what}{'; ' if would else '.'}{would}")
    request, own = plan.request, model_name(plan.request.source.name)
    by_stage = EXECUTORS[request.executor].node_per_stage
    kind = _TYPES.get(request.gpu.resource, "nvidia")
    usual = RESOURCES[kind]
    per_node = best.tensor_parallel if by_stage else best.gpus_per_node
    rdma = nodes.rdma(request, best)
    try:
        return DeploymentSpec(
            name=name or service_name(own),
            model=_model(plan, claim, path),
            parallelism=Parallelism(tensor=best.tensor_parallel, pipeline=best.pipeline_parallel),
            executor=request.executor,
            accelerator=Accelerator(
                type=kind,
                per_node=per_node,
                resource=request.gpu.resource if request.gpu.resource not in ("", "cpu", usual) else None,
                product=product or nodes.product_of(request, kind),
            ),
            context=plan.context,
            arguments=_arguments(plan, best, speculative),
            resources=nodes.resources(plan, best, per_node),
            shared_memory=f"{plan.shared_memory_gib}Gi",
            placement=_placement(plan, taints, _pool(pool, pool_nodes)),
            network=Network(rdma=rdma) if rdma else Network(),
            startup=_startup(plan, best),
        )
    except ValidationError as error:
        hint = "Give --name, --claim or --path another value."
        raise MultinodeError(ExitCode.SPEC, f"{first_fault(error)}.", hint=hint) from error


def _model(plan: Plan, claim: str, path: str | None) -> Model:
    """Where the weights are: a claim that is there, or one with room for them that is filled from the hub."""
    size = f"{-(-plan.checkpoint // _GIB)}Gi"
    hub = plan.request.source.hub
    if claim or not hub:
        own = model_name(plan.request.source.name)
        return Model(claim=claim or CLAIM, path=own if path is None else path, size=size)
    given = {} if path is None else {"path": path}
    return Model(source=hub, size=size, create_claim=Claim(size=f"{plan.claim_gib}Gi"), **given)


def _pool(labels: Mapping[str, str] | None, nodes: int | None) -> NodePool | None:
    if not labels:
        return None
    return NodePool(labels=labels, nodes=nodes) if nodes else NodePool(labels=labels)


def _placement(plan: Plan, taints: Sequence[tuple[str, str, str]], pool: NodePool | None) -> Placement:
    found = nodes.placement(plan.request) or Placement()
    said: dict[str, object] = {}
    if taints:
        said["tolerations"] = _tolerations(taints)
    if pool:
        said["pool"] = pool
    return found.model_copy(update=said) if said else found


def spec_text(spec: DeploymentSpec, plan: Plan) -> str:
    """The spec as YAML, with a line above it that says where it comes from."""
    best = plan.best
    shape = f"{best.label} of {plan.request.gpu.name}" if best else ""
    copies = f"; the nodes hold {plan.replicas} of it (replicas)" if plan.replicas > 1 else ""
    comment = f"# {plan.request.source.name} on {shape}, as `multinode plan` chose it{copies}\n"
    facts = catalogue.find("model", (spec.model.source or "").removeprefix("hf://").partition("@")[0])
    if facts is not None and facts.gated:
        comment += "# The model is gated: set model.sourceSecret to a Secret with your token (key token).\n"
    return comment + to_yaml([spec_object(spec)])


def spec_object(spec: DeploymentSpec) -> dict[str, Any]:
    """The spec as it is written to a file: what was set, without empty fields."""
    body = spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    return {field: value for field, value in body.items() if value != {}}


def model_name(source: str) -> str:
    """The last part of a hub id or path, without `config.json`."""
    parts = [part for part in re.split(r"[/\\]", source) if part not in ("", ".", "..")]
    if parts and parts[-1].endswith(".json"):
        parts = parts[:-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", parts[-1]) if parts else "model"


def service_name(model: str) -> str:
    """A name that Kubernetes and KServe take: lower case, digits and hyphens, a letter first."""
    name = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    if not name or not name[0].isalpha():
        name = f"m-{name}" if name else "model"
    return name[:_LONGEST_NAME].rstrip("-")


def _arguments(plan: Plan, best: Choice, speculative: str) -> dict[str, object]:
    """Arguments of vLLM that differ from its defaults."""
    request = plan.request
    found: dict[str, object] = {}
    if request.utilization != UTILIZATION:
        found["gpu-memory-utilization"] = request.utilization
    if request.kv_dtype != "auto":
        found["kv-cache-dtype"] = request.kv_dtype
    given = request.settings
    if given.eager:
        found["enforce-eager"] = True
    if given.block_size:
        found["block-size"] = given.block_size
    if not given.prefix_caching:
        found["no-enable-prefix-caching"] = True
    if given.text_only:
        found["language-model-only"] = True
    if given.whole_towers:
        found["mm-encoder-tp-mode"] = "data"
    if speculative:
        found["speculative-config"] = speculative
    version = given.version
    usual = default_batch(request.gpu.memory_gib, request.gpu.name, version, plan.context)
    if best.batch != usual:
        found["max-num-batched-tokens"] = best.batch.tokens
        found["max-num-seqs"] = best.batch.requests
    return found


def _startup(plan: Plan, best: Choice) -> int | None:
    """Seconds to start in, where the claim is not read at the speed that `render` takes for itself."""
    if plan.request.claim_gbs == CLAIM_GBS:
        return None
    return _BEFORE_START + best.speed.startup_seconds


def _tolerations(taints: Sequence[tuple[str, str, str]]) -> tuple[Toleration, ...]:
    return tuple(
        Toleration.model_validate(
            {"key": key, "operator": "Equal", "value": value, "effect": effect}
            if value
            else {"key": key, "operator": "Exists", "effect": effect}
        )
        for key, value, effect in taints
    )
