"""OCI AI Blueprints: recipes in JSON, alone, as pre_filled_samples, or in a deployment group.

Fields as oracle-quickstart/oci-ai-blueprints documents them (docs/api_documentation.md and its samples).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from vllm_multinode.authoring.planned_nodes import SHARED_RDMA
from vllm_multinode.contract.numbers import is_count
from vllm_multinode.convert import engine_arguments, environment, hardware, pods
from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.engine_arguments import Given, shown
from vllm_multinode.convert.record import Path, Record

_TITLES: Final = (
    "blueprint_category", "blueprint_id", "blueprint_long_description", "blueprint_short_description",
    "blueprint_title", "blueprint_type", "deployment_group", "recipe_id", "deployment_name", "name",
)  # fmt: skip
_POOL: Final = "The nodes exist: no pool is created, and Kubernetes chooses among them."
_LEAST_SHARED_MB: Final = 1024
_WHY: Final[Mapping[str, str]] = {
    "recipe_node_pool_size": _POOL,
    "recipe_use_shared_node_pool": _POOL,
    "recipe_node_boot_volume_size_in_gbs": _POOL,
    "recipe_node_labels": _POOL,
    "recipe_node_image_ocid": _POOL,
    "recipe_availability_domain": _POOL,
    "recipe_public_ssh_key": _POOL,
    "recipe_compartment_ocid": _POOL,
    "recipe_max_pods_per_node": _POOL,
    "recipe_flex_shape_ocpu_count": _POOL,
    "recipe_flex_shape_memory_size_in_gbs": _POOL,
    "recipe_worker_subnet_nsg_ocid": _POOL,
    "recipe_pod_subnet_ocid": _POOL,
    "recipe_pod_subnet_nsg_ocid": _POOL,
    "skip_capacity_validation": "deploy checks the free capacity of the cluster.",
    "recipe_prometheus_enabled": "Add the component monitoring.",
    "recipe_pod_autoscaling_params": "KServe does not scale multi-node services; write replicas.",
    "recipe_node_autoscaling_params": "The cluster's own autoscaler adds nodes.",
    "recipe_host_port": "A Route, Gateway or Ingress publishes the service.",
    "service_endpoint_domain": "A Route, Gateway or Ingress publishes the service.",
    "recipe_additional_ingress_ports": "The service has one port, the API.",
    "inference_gateway": "Add the component gateway.",
    "output_object_storage": "A service writes no output.",
    "exports": "The service's address is NAME-api.",
    "depends_on": "Nothing else is deployed.",
}


def is_kind(body: Mapping[str, Any]) -> bool:
    """Whether a document is a blueprint."""
    if body.get("apiVersion") or body.get("kind"):
        return False
    return bool({"recipe_id", "recipe_mode", "pre_filled_samples", "deployment_group"} & set(body))


def convert(record: Record) -> list[Draft]:
    """The services of a blueprint; what a group deploys beside them is not carried."""
    drafts = []
    recipes = list(_recipes(record))
    for path in recipes:
        draft = _recipe(record, path, alone=len(recipes) == 1)
        if draft is not None:
            drafts.append(draft)
    for field in _TITLES:
        if record.get(field) is not None and not record.is_answered((field,)):
            record.changed((field,), "", "It names the blueprint.")
    return drafts


def _recipes(record: Record) -> Iterator[Path]:
    for index, sample in enumerate(record.list("pre_filled_samples")):
        path: Path = ("pre_filled_samples", index)
        payload = sample.get("payload") if isinstance(sample, Mapping) else None
        yield (*path, "payload") if isinstance(payload, Mapping) else path
    for index, entry in enumerate(record.list("deployment_group", "deployments")):
        if isinstance(entry, Mapping) and isinstance(entry.get("recipe"), Mapping):
            yield ("deployment_group", "deployments", index, "recipe")
    if record.get("recipe_id") is not None or record.get("recipe_mode") is not None:
        yield ()


def _recipe(record: Record, base: Path, *, alone: bool) -> Draft | None:
    mode = record.get(*base, "recipe_mode")
    if mode != "service":
        why = f"Its mode is {shown(mode)}; only a service can be converted."
        if alone:
            record.refused((*base, "recipe_mode"), why)
        else:
            record.not_carried(base, why)
        return None
    command = record.list(*base, "recipe_container_command_args")
    image = str(record.get(*base, "recipe_image_uri") or "")
    if not any("vllm" in text.lower() for text in (image, str(record.get(*base, "recipe_id")))) and not any(
        str(word).startswith("--tensor-parallel") for word in command
    ):
        why = "It is not a vLLM service."
        if alone:
            record.refused((*base, "recipe_image_uri"), why)
        else:
            record.not_carried(base, why)
        return None
    draft = Draft(str(record.get(*base, "deployment_name") or record.get(*base, "recipe_id") or "model"))
    record.carried((*base, "recipe_mode"), "", "Only services are converted.")
    _hardware(record, draft, base)
    _model(record, draft, base)
    _container(record, draft, base)
    record.drop(base, _WHY)
    for field in _TITLES:
        if record.get(*base, field) is not None:
            record.changed(
                (*base, field), "name" if field == "deployment_name" else "", "It names the recipe."
            )
    return draft


def _hardware(record: Record, draft: Draft, base: Path) -> None:
    for field, kind in (("recipe_nvidia_gpu_count", "nvidia"), ("recipe_amd_gpu_count", "amd")):
        count = record.get(*base, field)
        if count is not None:
            hardware.take_gpus(record, draft, (*base, field), count, "amd" if kind == "amd" else "nvidia")
    shape = record.get(*base, "recipe_node_shape")
    if isinstance(shape, str):
        hardware.take_shape(record, draft, (*base, "recipe_node_shape"), shape)
    path = (*base, "multinode_num_nodes_to_use_from_shared_pool")
    nodes = record.get(*path)
    if nodes is not None:
        if is_count(str(nodes)) and int(nodes) > 0:
            draft.nodes = int(nodes)
            why = "The nodes follow from parallelism and GPUs per node; both have to agree."
            record.changed(path, "parallelism.nodes", why)
        else:
            record.not_carried(path, f"{shown(nodes)} is not a number of nodes.")
    path = (*base, "multinode_rdma_enabled_in_shared_pool")
    if record.get(*path) is True:
        draft.set("network.rdma.resource", SHARED_RDMA)
        record.changed(path, "network.rdma", f"The device plugin's resource is assumed to be {SHARED_RDMA}.")
        draft.todo(f"Check the RDMA resource of your nodes: the source names none, {SHARED_RDMA} is written.")
    elif record.get(*path) is not None:
        record.carried(path, "network.rdma", "Without RDMA.")
    replicas = record.get(*base, "recipe_replica_count")
    if is_count(str(replicas)) and int(replicas) > 0:
        draft.set("replicas", int(replicas))
        record.carried((*base, "recipe_replica_count"), "replicas")
    elif replicas is not None:
        record.not_carried((*base, "recipe_replica_count"), "A service has at least one group.")


def _model(record: Record, draft: Draft, base: Path) -> None:
    for field in ("input_object_storage", "input_file_system"):
        for index, entry in enumerate(record.list(*base, field)):
            if isinstance(entry, Mapping):
                _storage(record, draft, (*base, field, index), entry)


def _storage(record: Record, draft: Draft, path: Path, entry: Mapping[str, Any]) -> None:
    included = entry.get("include")
    prefix = str(included[0]).strip("/") if isinstance(included, list) and included else ""
    record.not_carried(path, "It is a volume of OCI's own.")
    if isinstance(entry.get("bucket_name"), str) and entry["bucket_name"]:
        _bucket(record, draft, path, entry["bucket_name"], prefix)
    elif entry.get("par") is not None:
        _pre_authenticated(record, draft, path, prefix)
    elif entry.get("file_system_ocid") is not None:
        claim = "Create a claim for the file system, and set model.claim to its name."
        record.drop(path, {"file_system_ocid": claim, "mount_target_ocid": claim})
        draft.set("model.claim", "models")
        draft.todo("Create a PersistentVolume and the claim models for the file system that holds the model.")
    if included is not None:
        target = "model.source" if draft.get("model.source") else ""
        record.changed((*path, "include"), target, "The folder that holds the model.")
    if entry.get("mount_location") is not None:
        record.changed((*path, "mount_location"), "", "Here every node reads the model at /mnt/models.")
    if entry.get("volume_size_in_gbs") is not None:
        why = "OCI's rule is 1.5 times the model; the claim here has a tenth more than the model."
        record.changed((*path, "volume_size_in_gbs"), "model.createClaim.size", why)


def _bucket(record: Record, draft: Draft, path: Path, bucket: str, prefix: str) -> None:
    draft.set("model.source", f"s3://{bucket}/{prefix or 'model'}")
    record.changed((*path, "bucket_name"), "model.source", "Through the bucket's S3 address.")
    if not prefix:
        draft.todo(f"Say which folder of the bucket {bucket} holds the model, as model.source.")
    secret = f"{draft.service}-s3"
    draft.set("model.sourceSecret", secret)
    draft.todo(
        f"Create the Secret {secret} with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL: "
        "OCI's S3 address of your namespace and region."
    )


def _pre_authenticated(record: Record, draft: Draft, path: Path, prefix: str) -> None:
    record.not_carried((*path, "par"), "A pre-authenticated address is a secret, and is not copied.")
    if "/" in prefix:
        draft.set("model.source", f"hf://{prefix}")
        draft.notes.append("The model comes from the hub: the bucket's folder has a repository's name.")
    else:
        draft.todo(
            "Say where the model comes from, as model.source: a pre-authenticated address is not copied."
        )


def _container(record: Record, draft: Draft, base: Path) -> None:
    env = (*base, "recipe_container_env")
    variables = environment.values(record.get(*env), ("key", "value"))
    arguments = record.get(*base, "recipe_container_command_args")
    used = set()
    if isinstance(arguments, list):
        given = [
            Given(str(text), (*base, "recipe_container_command_args", i)) for i, text in enumerate(arguments)
        ]
        used = {name for name in variables if any(name in one.text for one in given)}
        engine_arguments.from_list(record, draft, given, variables)
    record.replace(base, {"recipe_container_command": "The launcher starts vLLM."})
    for index, item in enumerate(record.list(*env)):
        if isinstance(item, Mapping) and str(item.get("key")) in used:
            record.changed((*env, index), "arguments", "An argument that refers to it has its value.")
        elif isinstance(item, Mapping):
            environment.take(record, draft, str(item.get("key")), item.get("value", ""), (*env, index))
    for index, item in enumerate(record.list(*base, "recipe_environment_secrets")):
        _secret(record, draft, (*base, "recipe_environment_secrets", index), item)
    image = record.get(*base, "recipe_image_uri")
    if image is not None:
        why = "The launcher runs in vLLM's released image; if yours contains something more, set image to it."
        record.changed((*base, "recipe_image_uri"), "image", why)
    _sizes(record, draft, base)
    for kind in ("startup", "liveness", "readiness"):
        _probe(record, draft, (*base, f"recipe_{kind}_probe_params"), kind)
    if record.get(*base, "recipe_container_port") is not None:
        record.changed((*base, "recipe_container_port"), "", engine_arguments.PORT_WHY)


def _sizes(record: Record, draft: Draft, base: Path) -> None:
    amounts: Mapping[str, tuple[str, str]] = {
        "recipe_shared_memory_volume_size_limit_in_mb": ("sharedMemory", "M"),
        "recipe_ephemeral_storage_size": ("resources.ephemeralStorage", "G"),
        "recipe_container_memory_size": ("resources.memory", "G"),
        "recipe_container_cpu_count": ("resources.cpu", ""),
    }
    for field, (target, unit) in amounts.items():
        value = record.get(*base, field)
        if value is None:
            continue
        if not is_count(str(value)):
            record.not_carried((*base, field), f"{shown(value)} is not an amount.")
            continue
        if target == "sharedMemory" and int(value) < _LEAST_SHARED_MB:
            draft.set(target, f"{_LEAST_SHARED_MB}M")
            why = f"The launcher needs at least {_LEAST_SHARED_MB} MB."
            record.changed((*base, field), target, why)
            continue
        draft.set(target, f"{value}{unit}")
        record.carried((*base, field), target, f"As {value}{unit}." if unit else "")


def _secret(record: Record, draft: Draft, path: Path, item: Any) -> None:
    """{envvar_name, secret_name, secret_key}."""
    if not isinstance(item, Mapping):
        record.not_carried(path, "It is not a reference to a Secret.")
        return
    name = str(item.get("envvar_name") or item.get("key") or "")
    secret, key = str(item.get("secret_name") or ""), str(item.get("secret_key") or name)
    if name in environment.HUB_TOKENS:
        environment.hub_secret(draft, secret, key)
        record.changed(path, "model.sourceSecret", "The fetch Job asks the hub; the engine needs no token.")
        return
    draft.put("env", name, {"valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    record.changed(path, f"env.{name}", "As valueFrom.secretKeyRef.")


def _probe(record: Record, draft: Draft, path: Path, kind: str) -> None:
    params = record.get(*path)
    if not isinstance(params, Mapping):
        return
    record.changed(path, "", pods.PROBES)
    failures, period = params.get("failure_threshold"), params.get("period_seconds", 10)
    if (
        kind == "startup"
        and isinstance(failures, int)
        and isinstance(period, int)
        and failures * period >= 10
    ):
        delay = params.get("initial_delay_seconds")
        seconds = failures * period + (delay if isinstance(delay, int) else 0)
        draft.set("startup", seconds)
        for name in ("failure_threshold", "period_seconds", "initial_delay_seconds"):
            if name in params:
                record.changed((*path, name), "startup", f"{seconds} seconds to start, in total.")
