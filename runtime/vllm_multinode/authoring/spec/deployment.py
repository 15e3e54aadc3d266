"""What a user means by one service: the root of the deployment spec."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from vllm_multinode.authoring.spec.accelerators import RELEASED_WITH_RAY, RESOURCES
from vllm_multinode.authoring.spec.base import (
    Annotations,
    LabelName,
    Labels,
    Name,
    Object,
    Part,
    Quantity,
    Text,
)
from vllm_multinode.authoring.spec.checks import check
from vllm_multinode.authoring.spec.network import Network
from vllm_multinode.authoring.spec.parts import (
    Accelerator,
    ApiKey,
    ApiKeySecret,
    Context,
    EngineArguments,
    EnvSource,
    Install,
    Model,
    Parallelism,
    Placement,
    Resources,
    RolePlacement,
    Router,
    RuntimeChoice,
    SecretKey,
    TokenSecret,
)
from vllm_multinode.authoring.spec.publish import PublishChoice
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, EXECUTORS, ExecutorName
from vllm_multinode.contract.kserve import Role, claim_uri

_GIB: Final = 1 << 30

Strategy = Literal["Recreate", "RollingUpdate"]


class DeploymentSpec(Part):
    """One vLLM engine over several nodes, as KServe or LeaderWorkerSet runs it."""

    name: LabelName = Field(description="Name of the InferenceService.")
    namespace: LabelName | None = Field(
        default=None, description="Namespace; by default the one of `kubectl apply`."
    )
    labels: Labels = Field(default_factory=dict, description="Labels of the service and of its pods.")
    annotations: Annotations = Field(
        default_factory=dict, description="Annotations of the service and of its pods."
    )
    model: Model = Field(description="Where the weights are.")
    parallelism: Parallelism = Field(
        default_factory=Parallelism, description="How the model is split over the accelerators."
    )
    executor: ExecutorName = Field(
        default=DEFAULT_EXECUTOR,
        description=(
            "Executor that runs the engine over the nodes: vLLM's own mp, or ray in an image that has it."
        ),
    )
    accelerator: Accelerator = Field(default_factory=Accelerator, description="Accelerators of each node.")
    image: str | None = Field(
        default=None,
        min_length=1,
        description="Image of head and workers; the released one of vLLM for the accelerator if absent, for "
        "Ray the last one that has it.",
    )
    runtime: RuntimeChoice | None = Field(
        default=None, description="ServingRuntime to use, or to write under a name."
    )
    context: Context | None = Field(
        default=None,
        description=(
            "Tokens per request, prompt and answer together (--max-model-len); by default the model's limit."
        ),
    )
    arguments: EngineArguments = Field(
        default_factory=dict,
        description="Further arguments of vLLM: a mapping such as gpu-memory-utilization: 0.92, or a list.",
    )
    env: Mapping[str, Text | EnvSource] = Field(
        default_factory=dict, description="Environment of head and workers; a value, or valueFrom."
    )
    resources: Resources = Field(default_factory=Resources, description="CPU and memory of each container.")
    shared_memory: Quantity = Field(default="16Gi", description="Size of /dev/shm.")
    placement: Placement = Field(default_factory=Placement, description="Where head and workers may run.")
    queue: LabelName | None = Field(
        default=None, description="LocalQueue of Kueue: all pods of a group are admitted together, or none."
    )
    replicas: Annotated[int, Field(ge=1, le=1024, strict=True)] = Field(
        default=1, description="Copies of the whole group, behind a router and one Service."
    )
    router: Router | Literal[False] | None = Field(
        default=None,
        description="Router in front of several replicas, which sends each request to the less busy of "
        "two heads; written if absent. false for a Service only: each connection stays with one head.",
    )
    deployment_strategy: Strategy = Field(
        default="Recreate",
        description="Strategy for updates; RollingUpdate needs a second set of accelerators.",
    )
    pod_security_context: Object = Field(
        default_factory=dict, description="Pod's security context, such as fsGroup."
    )
    security_context: Object = Field(
        default_factory=dict,
        description="Container's security context, in addition to what restricted-v2 requires.",
    )
    service_account_name: Name | None = Field(default=None, description="Service account of the pods.")
    image_pull_secrets: tuple[Name, ...] = Field(default=(), description="Secrets to pull the image.")
    network: Network = Field(default_factory=Network, description="Ports, policy and RDMA.")
    token_secret: TokenSecret | Literal[False] | None = Field(
        default=None,
        description="Secret with the group's token; <name>-token if absent, created by `multinode "
        "deploy`. false for none: anyone who reaches the pods can then join.",
    )
    disruption_budget: bool = Field(
        default=True, description="Write a PodDisruptionBudget: nodes are drained one at a time."
    )
    monitoring: bool = Field(
        default=False,
        description="Write PodMonitors and alerts for Prometheus' operator, and a dashboard for Grafana.",
    )
    publish: PublishChoice | None = Field(
        default=None,
        description="Access from outside the cluster: route, gateway or ingress, "
        "or a mapping. It turns on the API key.",
    )
    api_key_secret: ApiKey | Literal[False] | None = Field(
        default=None,
        description=(
            "Secret with the API key that clients present (VLLM_API_KEY). If absent, <name>-api-key is "
            "created for a published service; false for none."
        ),
    )
    drain: Annotated[int, Field(ge=0, le=86400, strict=True)] = Field(
        default=20,
        description=(
            "Seconds that running requests get when the service stops; use the time of the longest answer."
        ),
    )
    startup: Annotated[int, Field(ge=10, le=604800, strict=True)] | None = Field(
        default=None,
        description="Seconds that the engine may take to start; computed from the model's size if absent.",
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        check(self)
        return self

    @property
    def per_node(self) -> int:
        """Accelerators, or ranks of a CPU engine, of each node."""
        return self.accelerator.per_node or self.parallelism.tensor

    @property
    def nodes(self) -> int:
        """Pods of one group, the head included."""
        return -(-self.parallelism.tensor * self.parallelism.pipeline // self.per_node)

    @property
    def claim(self) -> str | None:
        """The claim that holds the model; None for an image."""
        if self.model.claim is not None or self.model.source is None:
            return self.model.claim
        return f"{self.name}-model"

    @property
    def weights(self) -> str | None:
        """Size of the weights: as written, or as the catalogue has it for a model of the hub."""
        if self.model.size is not None:
            return str(self.model.size)
        scheme, _, address = (self.model.source or "").partition("://")
        if scheme != "hf":
            return None
        # Late: specs that say it need no catalogue.
        from vllm_multinode.sizing import catalogue

        known = catalogue.find("model", address.partition("@")[0])
        return None if known is None or known.weight_bytes is None else f"{-(-known.weight_bytes // _GIB)}Gi"

    @property
    def storage_uri(self) -> str:
        """What KServe takes the model from."""
        if self.model.oci is not None:
            return self.model.oci
        return claim_uri(str(self.claim), self.model.folder)

    @property
    def token(self) -> SecretKey | None:
        """The Secret with the group's token; None where there is none."""
        if self.token_secret is None:
            return SecretKey(name=f"{self.name}-token")
        return self.token_secret or None

    @property
    def api_key(self) -> SecretKey | None:
        """The Secret with the API key of clients; None where they need none."""
        if self.api_key_secret is None:
            return ApiKeySecret(name=f"{self.name}-api-key") if self.publish is not None else None
        return self.api_key_secret or None

    @property
    def writes_runtime(self) -> bool:
        """Whether the ServingRuntime is written too; it is there already otherwise."""
        return self.runtime is None or self.runtime.write

    @property
    def install(self) -> Install:
        """How the launcher comes into the pods."""
        if self.runtime is not None and self.runtime.install is not None:
            return self.runtime.install
        has_image = self.image is not None or self.accelerator.type in RELEASED_WITH_RAY
        return "image" if EXECUTORS[self.executor].needs_ray and not has_image else "configMap"

    @property
    def accelerator_resource(self) -> str:
        """The resource that every pod requests."""
        return self.accelerator.resource or RESOURCES[self.accelerator.type]

    @property
    def service_names(self) -> tuple[str, ...]:
        """Names of the InferenceServices: one, or one a replica."""
        if self.replicas == 1:
            return (self.name,)
        return tuple(f"{self.name}-{number}" for number in range(self.replicas))

    @property
    def has_router(self) -> bool:
        """Whether a router stands before the heads."""
        return self.replicas > 1 and self.router is not False

    @property
    def placements(self) -> dict[Role, RolePlacement]:
        """Where head and workers may run: the common fields under those of the role."""
        return {
            "head": _over(self.placement, self.placement.head),
            "worker": _over(self.placement, self.placement.worker),
        }


def _over(common: RolePlacement, role: RolePlacement | None) -> RolePlacement:
    """The common fields, with those that the role sets in their place."""
    names = RolePlacement.model_fields
    return RolePlacement.model_construct(
        **{
            name: getattr(role, name)
            if role is not None and name in role.model_fields_set
            else getattr(common, name)
            for name in names
        }
    )
