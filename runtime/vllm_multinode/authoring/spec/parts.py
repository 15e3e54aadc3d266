"""The parts of a deployment spec. The descriptions are the texts of its JSON Schema and of docs/spec.md."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from vllm_multinode.authoring.spec.accelerators import AcceleratorType
from vllm_multinode.authoring.spec.base import (
    Count,
    Key,
    LabelName,
    Labels,
    LabelValue,
    Name,
    Object,
    Part,
    Quantity,
    Text,
    scalar,
)

AccessMode = Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]


def _source(value: str) -> str:
    if not re.fullmatch(r"(hf://[^\s/]+/[^\s/]+|(s3|oci|file)://[^\s/]+/\S*[^\s/])", value):
        raise ValueError(
            f"'{value}' is not a source: hf://org/name, s3://bucket/prefix, oci://registry/name:tag or "
            "file://claim/folder"
        )
    return value


Source = Annotated[str, AfterValidator(_source)]
"""The address of a model outside the cluster, or on another claim."""


class KeyRef(Part):
    """One key of a Secret or ConfigMap, as Kubernetes has it."""

    name: Name = Field(description="The Secret or ConfigMap.")
    key: str = Field(min_length=1, description="The key in it.")
    optional: bool | None = Field(default=None, description="Whether the pod starts without it.")


class FieldRef(Part):
    """One field of the pod, as Kubernetes has it."""

    field_path: str = Field(min_length=1, description="Such as spec.nodeName.")


class ValueSource(Part):
    """Where a variable's value is: one of these."""

    secret_key_ref: KeyRef | None = Field(default=None, description="A key of a Secret.")
    config_map_key_ref: KeyRef | None = Field(default=None, description="A key of a ConfigMap.")
    field_ref: FieldRef | None = Field(default=None, description="A field of the pod.")


class EnvSource(Part):
    """A variable whose value is elsewhere."""

    value_from: ValueSource = Field(description="Where, as in a container's env.")


class Claim(Part):
    """A PersistentVolumeClaim to write with the service."""

    size: Quantity | None = Field(
        default=None, description="Storage to request, such as 200Gi; by default 10 % more than model.size."
    )
    storage_class_name: Name | None = Field(
        default=None, description="Storage class; the cluster's default if absent."
    )
    access_modes: tuple[AccessMode, ...] = Field(
        default=("ReadWriteMany",),
        min_length=1,
        description="Access modes. Every node reads the claim at once.",
    )


class Model(Part):
    """Where the weights are, `claim` with a `path` or `oci`; and with `source`, where they come from."""

    claim: Name | None = Field(default=None, description="PersistentVolumeClaim that contains the model.")
    path: str = Field(default="", description="Folder of the model in the claim; its root if absent.")
    oci: str | None = Field(
        default=None, description="Image that contains the model, as oci://registry/name:tag."
    )
    source: Source | None = Field(
        default=None,
        description="Where the weights come from, for a Job that fills the claim: hf://org/name, "
        "s3://bucket/prefix, oci://registry/name:tag, or file://claim/folder for another claim. Without "
        "`claim`, a claim <name>-model is written.",
    )
    source_secret: Name | None = Field(
        default=None,
        description="Secret with the credentials for the source: the key token for hf, AWS_ACCESS_KEY_ID and "
        "similar keys for s3, .dockerconfigjson for oci.",
    )
    source_env: Mapping[str, Text | EnvSource] = Field(
        default_factory=dict,
        description="Variables of the Job that fetches: HF_ENDPOINT of a mirror, HTTPS_PROXY and NO_PROXY, "
        "AWS_ENDPOINT_URL of a store; a value, or valueFrom.",
    )
    served_name: str | None = Field(
        default=None,
        min_length=1,
        description="Model name that clients use; by default the name of the service.",
    )
    size: Quantity | None = Field(
        default=None,
        description=(
            "Size of the weights, such as 131Gi, for the claim and the startup budget; if absent, from "
            "the catalogue or from the source's own list."
        ),
    )
    create_claim: Claim | None = Field(
        default=None, description="Write the claim too, with this size and class."
    )

    @property
    def folder(self) -> str:
        """The model's folder in the claim: with a source, its last part where no path is named."""
        if self.path or self.source is None:
            return self.path
        last = self.source.partition("://")[2].rstrip("/").rpartition("/")[2]
        return re.split(r"[@:]", last)[0]


class Parallelism(Part):
    """How the model is divided over the accelerators of the group."""

    tensor: Count = Field(default=1, description="Tensor parallel size (TP): ranks that share each layer.")
    pipeline: Count = Field(
        default=1, description="Pipeline parallel size (PP): stages of consecutive layers."
    )
    nodes: Count | None = Field(
        default=None,
        description="Pods of the group, the head included; only checked: it follows from the others.",
    )


class Accelerator(Part):
    """Accelerators of each node."""

    type: AcceleratorType = Field(default="nvidia", description="Vendor, or none for vLLM on CPUs.")
    per_node: Count | None = Field(default=None, description="Accelerators of each node; TP if absent.")
    resource: Key | None = Field(
        default=None, description="Resource to request instead of the type's usual one."
    )
    product: LabelValue | None = Field(
        default=None,
        min_length=1,
        description="Product, as the nodes' label has it; becomes a node selector.",
    )


class Resources(Part):
    """CPU and memory of each container, the same for head and workers."""

    cpu: Quantity | None = Field(default=None, description="CPUs to request; with accelerators, 4 if absent.")
    memory: Quantity | None = Field(
        default=None, description="Memory to request, /dev/shm included; 16Gi more than that if absent."
    )
    cpu_limit: Quantity | None = Field(default=None, description="Limit of CPUs; none if absent.")
    memory_limit: Quantity | None = Field(default=None, description="Limit of memory; none if absent.")
    ephemeral_storage: Quantity | None = Field(default=None, description="Local disk to request.")
    other: Mapping[Key, Quantity] = Field(
        default_factory=dict,
        description="Further resources, as requests and limits: hugepages-2Mi: 8Gi.",
    )


class Toleration(Part):
    """A taint that the pods tolerate, as Kubernetes has it."""

    key: str | None = Field(default=None, description="Key of the taint; every taint if absent.")
    operator: Literal["Exists", "Equal"] | None = Field(
        default=None, description="Exists, or Equal with a value."
    )
    value: Text | None = Field(default=None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; every effect if absent."
    )
    toleration_seconds: int | None = Field(default=None, description="Seconds that NoExecute is tolerated.")


class SpreadConstraint(Part):
    """How pods spread over the nodes' topology, as Kubernetes has it."""

    max_skew: Count = Field(default=1, description="How far two domains may differ.")
    topology_key: Key = Field(description="Label of the nodes, such as topology.kubernetes.io/zone.")
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = Field(
        default="DoNotSchedule", description="What to do if that is impossible."
    )
    label_selector: Object | None = Field(
        default=None, description="Pods that count; the group's own if absent."
    )
    min_domains: Count | None = Field(default=None, description="Least number of domains.")
    node_affinity_policy: Literal["Honor", "Ignore"] | None = Field(
        default=None, description="Whether node affinity narrows the domains."
    )
    node_taints_policy: Literal["Honor", "Ignore"] | None = Field(
        default=None, description="Whether taints narrow the domains."
    )
    match_label_keys: tuple[str, ...] | None = Field(
        default=None, description="Labels that must be equal to count."
    )


class RolePlacement(Part):
    """Where the pods of one role may run. Each field is the Kubernetes field of the same name."""

    node_selector: Labels | None = Field(default=None, description="Labels that a node must have.")
    tolerations: tuple[Toleration, ...] | None = Field(
        default=None, description="Taints that the pods tolerate."
    )
    affinity: Object | None = Field(default=None, description="Node and pod affinity.")
    topology_spread_constraints: tuple[SpreadConstraint, ...] | None = Field(
        default=None,
        description="Spread over zones or racks; without a labelSelector, the group's own pods count.",
    )
    priority_class_name: Name | None = Field(default=None, description="Priority class.")
    scheduler_name: Name | None = Field(default=None, description="Scheduler.")
    runtime_class_name: Name | None = Field(default=None, description="Runtime class.")


class NodePool(Part):
    """Equal nodes, selected by their labels."""

    labels: Labels = Field(
        min_length=1, description="Labels of its nodes; they are added to the pods' node selector."
    )
    nodes: Count | None = Field(
        default=None, description="Nodes that the service may use; only checked. Any number if absent."
    )


class Placement(RolePlacement):
    """Where all pods of the group may run; `head` and `worker` replace single fields for one role."""

    pool: NodePool | None = Field(default=None, description="Nodes of one pool.")
    preferred_nodes: tuple[Name, ...] = Field(
        default=(), description="Names of preferred nodes; other nodes are used if these are full."
    )
    topology_key: Key | None = Field(
        default=None,
        description="Label of the nodes whose value all pods of a group share, such as a rack's; nodes "
        "without it are left out. If absent, the scheduler prefers one zone (topology.kubernetes.io/zone).",
    )

    head: RolePlacement | None = Field(default=None, description="Fields that differ for the head.")
    worker: RolePlacement | None = Field(default=None, description="Fields that differ for the workers.")


class SecretKey(Part):
    """One key of a Secret."""

    name: Name = Field(description="The Secret.")
    key: str = Field(default="token", min_length=1, description="The key in it.")


class ApiKeySecret(SecretKey):
    """One key of a Secret, with the API key of clients."""

    key: str = Field("api-key", min_length=1, description="The key in it.")


Install = Literal["configMap", "image"]
"""How the launcher comes into the pods."""


class Runtime(Part):
    """The ServingRuntime that the service names, and how the launcher comes into its pods."""

    name: LabelName | None = Field(
        default=None, description="Its name; by default vllm-multinode-ray or -mp."
    )
    write: bool = Field(default=True, description="Write it too; false if it already exists.")
    install: Install | None = Field(
        default=None,
        description=(
            "How the launcher gets into the pods: configMap mounts it into an image of vLLM, image uses "
            "one that scripts/build-image built. configMap if absent; image for Ray on other "
            "accelerators than NVIDIA's where no image is named, since no released one of theirs is "
            "known to have Ray."
        ),
    )


class Router(Part):
    """The vLLM project's router in front of the heads of several replicas."""

    image: str | None = Field(
        default=None, min_length=1, description="Its image; a released one of vllm-router if absent."
    )


def _secret(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _runtime(value: object) -> object:
    return {"name": value, "write": False} if isinstance(value, str) else value


TokenSecret = Annotated[SecretKey, BeforeValidator(_secret, json_schema_input_type=str | SecretKey)]
ApiKey = Annotated[ApiKeySecret, BeforeValidator(_secret, json_schema_input_type=str | ApiKeySecret)]
RuntimeChoice = Annotated[Runtime, BeforeValidator(_runtime, json_schema_input_type=str | Runtime)]


def _context(value: object) -> object:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not is_count and value != "auto":
        raise ValueError(f"'{value}' is neither a number of tokens nor auto")
    return value


def _arguments(value: object) -> object:
    if isinstance(value, Mapping):
        return {_argument_name(key): _argument_value(key, one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        wrong = [one for one in value if not isinstance(scalar(one), str)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not text; write each item as one argument of the command line")
        return tuple(scalar(one) for one in value)
    raise ValueError("write a mapping such as gpu-memory-utilization: 0.92, or a list of texts")


def _argument_name(key: object) -> str:
    if not isinstance(key, str) or not re.fullmatch(r"(--)?[A-Za-z0-9][-A-Za-z0-9_.]*", key):
        raise ValueError(f"{key!r} is not an option of vLLM, such as gpu-memory-utilization")
    return key


def _argument_value(key: object, value: object) -> object:
    if value is None:
        raise ValueError(f"{key} has no value; write true for an option without one")
    return value


Context = Annotated[int | Literal["auto"], BeforeValidator(_context)]
"""Tokens, or what vLLM finds room for."""
EngineArguments = Annotated[Mapping[str, Any] | tuple[str, ...], BeforeValidator(_arguments)]
"""vLLM's arguments."""
