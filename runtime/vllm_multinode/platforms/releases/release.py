"""What a release of KServe or OpenShift AI does, by name: whoever needs a fact asks the record for it."""

from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, Final, Literal

Product = Literal["kserve", "openshift-ai"]
StockRuntime = Literal[
    "huggingface-pp2",
    "huggingface",
    "huggingface-server-type",
    "ray",
    "ray-tls-volumes",
    "ray-tls",
    "ray-tls-labelled",
    "mp",
]
"""KServe's three of huggingfaceserver, OpenShift AI's five of vLLM; `platforms.stock_runtimes` has them."""

TITLES: Final[dict[Product, str]] = {"kserve": "KServe", "openshift-ai": "OpenShift AI"}
_ISSUE: Final = "issue"


def _bug(issue: str) -> Any:
    """A fault that some releases have; it is not assumed for a release that nobody has looked at."""
    return field(default=False, metadata={_ISSUE: issue})


@dataclass(frozen=True, kw_only=True)
class Release:
    """One release. A new one is `replace(<the one before>, number=…, <what differs>)`.

    Attributes:
        product: what users call it by.
        number: such as 0.19.0, or 2.25.
        carries: the KServe that an OpenShift AI release is forked from; empty for KServe itself.
        crds: the release whose custom resource definitions it serves (`authoring/rules/fields.json`).
        knows_worker_spec: an InferenceService can have a workerSpec; elsewhere the field is dropped.
        autoscaler_class: what a service over several nodes has to name.
        autoscaler_classes: what any service may name.
        storage_schemes: of a storageUri over several nodes.
        least_pipeline_size: of a workerSpec.
        runtime_must_name_sizes: a ServingRuntime's workerSpec without TP and PP is rejected.
        counts_nodes_by_gpu_requests: nodes follow from GPU requests; elsewhere they are PP nodes of TP GPUs.
        knows_mp_annotation: `multinode/executor-backend: mp` makes PP nodes of TP GPUs.
        refuses_python_path: PYTHONPATH may not be set.
        knows_gpu_types_annotation: `serving.kserve.io/gpu-resource-types` allows further GPU resources.
        writes_annotated_gpu_types: and the count is written to those.
        raw_mode: value of the deployment mode's annotation that the webhooks take for a raw deployment.
        raw_modes: values that the controller takes for one.
        knative_modes: values that mean Knative.
        renames_modes: the defaulting webhook rewrites RawDeployment and Serverless to their new names.
        checks_scaling_by_class: raw services are checked for HPA metrics only where their class is hpa.
        knows_storage_uris: spec.predictor.storageUris exists, and a name inside `model` is rejected.
        knows_storage_container_name: spec.predictor.storageContainerName exists.
        knows_variants: spec.predictor.name and spec.canary exist.
        knows_stop_annotation: `serving.kserve.io/stop` deletes what was made.
        annotates_model_format: the defaulting webhook writes the annotation `modelFormat`.
        v2_formats: model formats that get protocol v2 where none is named.
        more_runtime_fields: pod fields that a ServingRuntime carries beyond those that every release carries.
        merges_sidecars: the InferenceService's own containers, and a transformer, stand beside the runtime's.
        keeps_one_source: of a variable with value and valueFrom, what the InferenceService wrote stays.
        keeps_digests: an image given by digest gets no other tag.
        reads_server_type: the image's suffix follows the annotation `serving.kserve.io/server-type`.
        head_variables: what is injected into the head of several nodes, in this order.
        worker_variables: the same for a worker.
        injects_service_name: INFERENCE_SERVICE_NAME in every container of the head.
        scales_head_by_min_replicas: minReplicas is the number of heads.
        fills_in_strategy_type: a deploymentStrategy without a type is a rolling update from the start.
        sets_app_protocol: a port named h2c or grpc gets an appProtocol.
        surges_workers: a rolling update of the workers always starts all new ones beside the old ones.
        makes_workers_service: the workers of a generation have a headless Service.
        makes_services_first: Services come before Deployments.
        clients_service_is_headless: the clients' Service has no address of its own.
        named_ports: which of its ports are called http where they have no name.
        knows_cluster_runtimes: a ClusterServingRuntime is checked, and chosen.
        checks_lone_priorities: two priorities of one format are rejected even if there is no other runtime.
        auth_switch: what `security.opendatahub.io/enable-auth` is read as; empty where it has no meaning.
        adds_auth_proxy: when a head gets a proxy that checks who calls.
        auth_proxy: the container of that proxy.
        knows_auth_proxy_type: `security.opendatahub.io/auth-proxy-type` chooses another one.
        names_access_volume_by_service: the proxy's volume has the service's name in its own.
        serving_certificate: whose Services and pods OpenShift issues a certificate for.
        issues_ray_certificates: for whose pods, where RAY_USE_TLS is set: those of the ServingRuntime with
            the name of OpenShift AI's own, or those of any that has a workerSpec.
        fills_in_hardware_profiles: a webhook writes the resources of the head that a hardware profile says.
        modelcar_keeps_security_context: a modelcar adds its user to the container's securityContext.
        initializer_has_download_env: the storage initializer gets the Hugging Face download variables.
        stock_runtime: shape of the runtime for several nodes that it brings; empty where it brings none.
        engine: vLLM in the image that its Template names, as the Template says it; empty where it does not.
        keeps_three_head_services: the three newest head Services of the cluster stay, the others are deleted.
        refuses_oci_workers: an oci:// model is admitted and the pod webhook then rejects every worker.
        never_sets_ready: the InferenceService never becomes Ready, although it serves.
        recreates_workers: workers and headless Services are deleted and made again on every reconcile.
        reads_first_variable_only: RAY_USE_TLS counts as the first variable of the first container alone.
        panics_end_manager: a panic of the controller ends it, for every service of the cluster.
        panics_over_gpu_types: the annotation for GPU types makes the controller panic.
        remark: where the release is not known: what was assumed in its place.
    """

    product: Product
    number: str
    carries: str = ""
    crds: str
    # Admission
    knows_worker_spec: bool
    autoscaler_class: Literal["external", "none"]
    autoscaler_classes: frozenset[str]
    storage_schemes: tuple[str, ...]
    least_pipeline_size: int
    runtime_must_name_sizes: bool
    counts_nodes_by_gpu_requests: bool
    knows_mp_annotation: bool
    refuses_python_path: bool
    knows_gpu_types_annotation: bool
    writes_annotated_gpu_types: bool
    raw_mode: Literal["RawDeployment", "Standard"]
    raw_modes: tuple[str, ...]
    knative_modes: tuple[str, ...]
    renames_modes: bool
    checks_scaling_by_class: bool
    knows_storage_uris: bool
    knows_storage_container_name: bool
    knows_variants: bool
    knows_stop_annotation: bool
    # Defaulting and merging
    annotates_model_format: bool
    v2_formats: frozenset[str]
    more_runtime_fields: frozenset[str]
    merges_sidecars: bool
    keeps_one_source: bool
    keeps_digests: bool
    reads_server_type: bool
    # Objects
    head_variables: tuple[str, ...]
    worker_variables: tuple[str, ...]
    injects_service_name: bool
    scales_head_by_min_replicas: bool
    fills_in_strategy_type: bool
    sets_app_protocol: bool
    surges_workers: bool
    makes_workers_service: bool
    makes_services_first: bool
    clients_service_is_headless: bool
    named_ports: Literal["none", "first", "all"]
    modelcar_keeps_security_context: bool
    initializer_has_download_env: bool
    # OpenShift AI's own
    knows_cluster_runtimes: bool = True
    checks_lone_priorities: bool = False
    auth_switch: Literal["", "label", "annotation"] = ""
    adds_auth_proxy: Literal["on-request", "always"] = "on-request"
    auth_proxy: Literal["", "oauth-proxy", "kube-rbac-proxy"] = ""
    knows_auth_proxy_type: bool = False
    names_access_volume_by_service: bool = False
    serving_certificate: Literal["", "with-auth", "head", "all"] = ""
    issues_ray_certificates: Literal["", "one-name", "any"] = ""
    fills_in_hardware_profiles: bool = False
    stock_runtime: StockRuntime | Literal[""] = ""
    engine: str = ""
    # Known bugs
    keeps_three_head_services: bool = _bug("the deletion of older head Services")
    refuses_oci_workers: bool = _bug("RHOAIENG-38499")
    never_sets_ready: bool = _bug("kserve#5703")
    recreates_workers: bool = _bug("kserve#6113")
    reads_first_variable_only: bool = _bug("RHOAIENG-31808")
    panics_end_manager: bool = _bug("the end of the controller by a panic")
    panics_over_gpu_types: bool = _bug("the panic over gpu-resource-types")
    remark: str = ""

    @property
    def name(self) -> str:
        """As `--platform` takes it: kserve-0.19.0, openshift-ai-2.25."""
        return f"{self.product}-{self.number}"

    @property
    def label(self) -> str:
        """As sentences call it: KServe 0.19.0, OpenShift AI 2.25."""
        return f"{TITLES[self.product]} {self.number}"

    @property
    def assigns_users(self) -> bool:
        """The platform gives each namespace its own users, and rejects others that a manifest names."""
        return self.product == "openshift-ai"

    @property
    def names_engine_image(self) -> bool:
        """A Template of the platform names the image of vLLM that it supports."""
        return self.product == "openshift-ai"

    @property
    def engine_needs_ray(self) -> bool:
        """Its own runtime for several nodes spreads its engine over Ray."""
        return self.stock_runtime.startswith("ray")

    @property
    def key(self) -> tuple[int, ...]:
        """The number as numbers, for the order of releases."""
        return tuple(int(part) for part in self.number.split("."))

    @property
    def mode_to_write(self) -> str:
        """The deployment mode that a manifest should name: the old name wherever it is taken for the new."""
        return "RawDeployment" if self.renames_modes else self.raw_mode

    @property
    def bugs(self) -> dict[str, str]:
        """The known bugs that it has, with the issue of each."""
        return {one.name: issue for one, issue in _bugs() if getattr(self, one.name)}

    def without(self, bugs: dict[str, str]) -> "Release":
        """The same release, rid of some bugs."""
        changes: dict[str, Any] = dict.fromkeys(bugs, False)
        return replace(self, **changes)


def _bugs() -> list[tuple[Field[Any], str]]:
    return [(one, one.metadata[_ISSUE]) for one in fields(Release) if _ISSUE in one.metadata]
