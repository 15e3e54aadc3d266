"""What fields of a deployment spec say of one another. Pure; what depends on KServe's version is render's."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from vllm_multinode.authoring.spec import arguments, exposure
from vllm_multinode.authoring.spec.accelerators import product_label
from vllm_multinode.authoring.spec.fault import Fault
from vllm_multinode.authoring.spec.parts import EnvSource
from vllm_multinode.contract import env
from vllm_multinode.k8s.quantity import parse
from vllm_multinode.platforms import kueue
from vllm_multinode.platforms import names as kserve

if TYPE_CHECKING:
    from vllm_multinode.authoring.spec.deployment import DeploymentSpec

UNKNOWN_SIZE: Final = "unknown_size"
"""The kind of the fault that a claim's size is not known."""
_LEAST_SHARED_MEMORY: Final = 512 * 1024**2
_KSERVE_NAME: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DNS_LABEL: Final = 63
# `app: isvc.<name>-predictor-worker` is a label of the workers.
_LONGEST_NAME: Final = _DNS_LABEL - len("isvc.") - len("-predictor-worker")

_RENDERED: Final = frozenset(
    {
        env.EXECUTOR,
        env.GENERATION,
        env.TOKEN_FILE,
        env.PORT,
        env.SUPERVISOR_PORT,
        env.ACCELERATOR,
        env.MODEL_SOURCE,
    }
)
_RESERVED: Final = env.KSERVE | env.LWS | env.DOWNWARD | _RENDERED
_SECRETS: Final = (env.HF_TOKEN, "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Variables of a fetch that no Job may hold as they are."""
_OWN_ANNOTATIONS: Final = {
    kserve.DEPLOYMENT_MODE: "it follows from KServe's version",
    kserve.AUTOSCALER_CLASS: "it follows from KServe's version",
    kserve.GPU_TYPES: "it follows from accelerator.resource",
    kserve.EXECUTOR: "it belongs on the ServingRuntime and follows from executor",
}


def check(spec: "DeploymentSpec") -> None:
    """Raise all faults of a spec at once.

    Raises:
        ValidationError: every fault, at its own field.
    """
    found = [fault for faults in _CHECKS for fault in faults(spec)]
    if found:
        raise ValidationError.from_exception_data(
            type(spec).__name__,
            [
                InitErrorDetails(
                    type=PydanticCustomError(fault.kind, "{message}", {"message": fault.message}),
                    loc=fault.path,
                    input=None,
                )
                for fault in found
            ],
        )


def _model(spec: "DeploymentSpec") -> Iterator[Fault]:
    model = spec.model
    if model.oci is not None and model.source is not None:
        yield Fault(("model", "source"), "an oci image needs no fetch Job; keep one of the two")
        return
    if (spec.claim is None) == (model.oci is None):
        yield Fault(("model",), "give the weights as claim, source or oci; oci cannot be combined")
        return
    if model.oci is not None and not re.fullmatch(r"oci://[^\s/]+/\S+", model.oci):
        yield Fault(("model", "oci"), f"'{model.oci}' is not an image; write oci://registry/name:tag")
    if model.oci is not None and model.path:
        yield Fault(("model", "path"), "an oci image has no path: KServe mounts it as a whole; leave it out")
    if model.path and not _is_folder(model.path):
        yield Fault(
            ("model", "path"), f"'{model.path}' is not a folder of the claim; write it as models/llama"
        )
    yield from _source(spec)
    yield from _claim_size(spec)
    if model.create_claim is None:
        return
    if spec.claim is None:
        yield Fault(("model", "create_claim"), "there is no claim to create; set model.claim")
    shared = {"ReadWriteMany", "ReadOnlyMany"} & set(model.create_claim.access_modes)
    if not shared and spec.nodes * spec.replicas > 1:
        yield Fault(
            ("model", "create_claim", "access_modes"),
            f"{spec.nodes * spec.replicas} pods mount the claim at once; add ReadWriteMany",
        )


def _source(spec: "DeploymentSpec") -> Iterator[Fault]:
    model = spec.model
    if model.source_env and model.source is None:
        yield Fault(("model", "source_env"), "there is no fetch Job without a source; omit it")
    if model.source_secret is not None and (model.source or "file://").startswith("file://"):
        yield Fault(("model", "source_secret"), "no source needs it; omit it")
    if model.source is not None and not _is_folder(model.folder):
        yield Fault(("model", "path"), f"'{model.folder}' is not a folder of the claim; set path")


def _claim_size(spec: "DeploymentSpec") -> Iterator[Fault]:
    model = spec.model
    written = model.create_claim is not None or (model.source is not None and model.claim is None)
    stated = model.create_claim.size if model.create_claim is not None else None
    if not written or spec.claim is None:
        return
    if stated is None and spec.weights is None:
        on_a_claim = (model.source or "").startswith("file://")
        why = "only the cluster can read a claim" if on_a_claim else "the catalogue lacks the model"
        yield Fault(
            ("model", "size"),
            f"the claim's size is not known: {why}; give the size of its weights, such as size: 131Gi",
            UNKNOWN_SIZE,
        )
    elif stated is not None and model.size is not None and parse(stated) < parse(model.size):
        yield Fault(
            ("model", "create_claim", "size"),
            f"{stated} are less than the {model.size} of the model; omit it, or request 10 % more",
        )


def _is_folder(path: str) -> bool:
    parts = path.split("/")
    return path.isprintable() and path.strip() == path and not {"", ".", ".."} & set(parts)


def _sizes(spec: "DeploymentSpec") -> Iterator[Fault]:
    tensor, pipeline, each = spec.parallelism.tensor, spec.parallelism.pipeline, spec.per_node
    world = tensor * pipeline
    product = f"TP {tensor} x PP {pipeline} = {world} ranks"
    if world % each:
        yield Fault(
            ("accelerator", "per_node"),
            f"{product} do not divide over nodes of {each} accelerators; use all of each node",
        )
        return
    asked = spec.parallelism.nodes
    if asked is not None and asked != world // each:
        yield Fault(
            ("parallelism", "nodes"),
            f"{product} on {each} accelerators per node are {world // each} nodes, not {asked}; leave it out",
        )


def _names(spec: "DeploymentSpec") -> Iterator[Fault]:
    if not _KSERVE_NAME.fullmatch(spec.name):
        yield Fault(("name",), f"'{spec.name}' does not begin with a letter, which KServe requires")
    longest = max(spec.service_names, key=len)
    if len(longest) > _LONGEST_NAME:
        yield Fault(
            ("name",),
            f"'{longest}' has {len(longest)} characters; KServe's labels allow {_LONGEST_NAME}",
        )
    elif spec.namespace is not None:
        host = f"{longest}-predictor-{spec.namespace}"
        if len(host) > _DNS_LABEL:
            yield Fault(
                ("name",),
                f"KServe's host name '{host}' has {len(host)} characters, more than {_DNS_LABEL}; "
                "shorten the name or the namespace",
            )


def _environment(spec: "DeploymentSpec") -> Iterator[Fault]:
    rdma = spec.network.rdma.env if spec.network.rdma else {}
    fetching = spec.model.source_env
    every = ((("env",), spec.env), (("network", "rdma", "env"), rdma), (("model", "source_env"), fetching))
    for path, variables in every:
        for name, value in variables.items():
            if not _VARIABLE.fullmatch(name):
                yield Fault((*path, name), f"'{name}' is not a valid variable name")
            elif name in _RESERVED:
                yield Fault((*path, name), f"{name} is set by {_setter(name)}; leave it out")
            if isinstance(value, EnvSource) and len(value.value_from.model_dump(exclude_none=True)) != 1:
                yield Fault(
                    (*path, name), f"valueFrom of {name} needs exactly one source, such as secretKeyRef"
                )
    for name in spec.env:
        if name in rdma:
            yield Fault(("env", name), f"{name} is in network.rdma.env too; keep one")


def _secrets(spec: "DeploymentSpec") -> Iterator[Fault]:
    """What is secret stands in a Secret, once."""
    fetching = spec.model.source_env
    for name in _SECRETS:
        if isinstance(fetching.get(name), str):
            yield Fault(
                ("model", "source_env", name), "anyone who may read Jobs could read it; use sourceSecret"
            )
    if env.HF_TOKEN in fetching and spec.model.source_secret is not None:
        yield Fault(("model", "source_env", env.HF_TOKEN), "it comes from sourceSecret; keep one")


def _setter(name: str) -> str:
    if name in env.KSERVE or name in env.LWS:
        return "KServe or LeaderWorkerSet"
    return "the rendered pods"


def _arguments(spec: "DeploymentSpec") -> Iterator[Fault]:
    yield from (Fault(path, message) for path, message in arguments.faults(spec.arguments))
    taken = {
        "max-model-len": ("context", spec.context),
        "served-model-name": ("model.servedName", spec.model.served_name),
    }
    given = arguments.names(spec.arguments)
    for name, (field, value) in taken.items():
        if value is not None and name in given:
            yield Fault(("arguments",), f"--{name} and {field} set the same value; keep one")


def _accelerator(spec: "DeploymentSpec") -> Iterator[Fault]:
    accelerator = spec.accelerator
    if accelerator.product is not None:
        label = product_label(accelerator.type)
        if label is None:
            yield Fault(
                ("accelerator", "product"),
                f"no label of nodes names products of type {accelerator.type}; use placement.nodeSelector",
            )
        for role, placement in spec.placements.items():
            other = (placement.node_selector or {}).get(label or "")
            if other not in (None, accelerator.product):
                yield Fault(
                    ("accelerator", "product"),
                    f"the {role}'s node selector says {label}={other}; keep one of them",
                )
    rdma = spec.network.rdma
    for name in spec.resources.other:
        if name == spec.accelerator_resource:
            yield Fault(
                ("resources", "other", name), f"{name} is counted by accelerator.perNode; leave it out"
            )
        elif rdma is not None and name == rdma.resource:
            yield Fault(("resources", "other", name), f"{name} is counted by network.rdma; leave it out")
        elif name in ("cpu", "memory", "ephemeral-storage"):
            yield Fault(("resources", "other", name), f"{name} has its own field in resources")


def _router(spec: "DeploymentSpec") -> Iterator[Fault]:
    if spec.router and spec.replicas == 1:
        yield Fault(("router",), "a single replica needs no router; leave it out, or raise replicas")


def _pool(spec: "DeploymentSpec") -> Iterator[Fault]:
    pool = spec.placement.pool
    if pool is None:
        return
    wanted = spec.nodes * spec.replicas
    if pool.nodes is not None and pool.nodes < wanted:
        yield Fault(
            ("placement", "pool", "nodes"),
            f"the service needs {wanted} nodes, and the pool has {pool.nodes}",
        )
    for role, placement in spec.placements.items():
        for key, value in pool.labels.items():
            other = (placement.node_selector or {}).get(key, value)
            if other != value:
                yield Fault(
                    ("placement", "pool", "labels", key),
                    f"the {role}'s node selector says {key}={other}; keep one of them",
                )


def _queue(spec: "DeploymentSpec") -> Iterator[Fault]:
    for place, given in (("labels", spec.labels), ("annotations", spec.annotations)):
        for key in given:
            if spec.queue is not None and key.startswith(kueue.PREFIX):
                yield Fault((place, key), f"{key} follows from queue; keep one of them")


def _annotations(spec: "DeploymentSpec") -> Iterator[Fault]:
    for key, why in _OWN_ANNOTATIONS.items():
        if key in spec.annotations:
            yield Fault(("annotations", key), f"{key} is written by render: {why}; leave it out")


def _memory(spec: "DeploymentSpec") -> Iterator[Fault]:
    shared = parse(spec.shared_memory)
    if shared < _LEAST_SHARED_MEMORY and env.SHARED_MEMORY_MIN not in spec.env:
        yield Fault(
            ("shared_memory",), f"{spec.shared_memory} is less than the 512Mi that the launcher needs"
        )
    resources = spec.resources
    if resources.memory_limit is not None and shared >= parse(resources.memory_limit):
        yield Fault(
            ("shared_memory",),
            f"{spec.shared_memory} of /dev/shm count towards the memory limit of {resources.memory_limit}; "
            "raise resources.memoryLimit",
        )
    for name, asked, most in (
        ("cpu", resources.cpu, resources.cpu_limit),
        ("memory", resources.memory, resources.memory_limit),
    ):
        if asked is not None and most is not None and parse(asked) > parse(most):
            yield Fault(("resources", name), f"{asked} are more than their limit, {most}")


_CHECKS = (
    _memory,
    _model,
    _sizes,
    _names,
    _environment,
    _secrets,
    _arguments,
    exposure.network,
    exposure.publish,
    exposure.together,
    _accelerator,
    _router,
    _pool,
    _queue,
    _annotations,
    exposure.security,
)
