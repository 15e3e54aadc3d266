"""One InferenceService turned into the objects that KServe makes of it."""

from dataclasses import dataclass
from typing import Any

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.finding import Finding, Path
from vllm_multinode.platforms import api_server, gpus, names
from vllm_multinode.platforms.api_server import Objection
from vllm_multinode.platforms.kserve import agent, auth_proxy, objects, pods, storage
from vllm_multinode.platforms.kserve.environment import Service
from vllm_multinode.platforms.kserve.nodes import Layout
from vllm_multinode.platforms.kserve.origin import origin
from vllm_multinode.platforms.releases import Release
from vllm_multinode.platforms.simulation import Body, Group, Role


@dataclass(frozen=True)
class Source:
    """What a group is made from.

    Attributes:
        service: the InferenceService after defaulting.
        runtime: the runtime, pruned to what its schema carries.
        release: of KServe or OpenShift AI.
        generation: of the InferenceService.
    """

    service: Body
    runtime: Body
    release: Release
    generation: int

    @property
    def name(self) -> str:
        """The InferenceService's."""
        return str(self.service["metadata"]["name"])

    @property
    def predictor(self) -> Body:
        """spec.predictor."""
        found: Body = self.service["spec"]["predictor"]
        return found

    @property
    def multi_node(self) -> bool:
        """Whether there is a workerSpec, even an empty one."""
        return self.predictor.get("workerSpec") is not None

    @property
    def deployment(self) -> str:
        """The head's Deployment."""
        variant = self.predictor.get("name", "") if self.release.knows_variants else ""
        return names.predictor(self.name, variant)


def group(source: Source) -> Group:
    """The group of one accepted InferenceService.

    Raises:
        pods.NothingMade: the controller stops before it makes anything.
    """
    return _multi(source) if source.multi_node else _single(source)


def merged(source: Source) -> tuple[Body, Body, Layout]:
    """Head and worker of a multi-node service before counts are written to them, and those counts.

    Raises:
        pods.NothingMade: the controller stops before it makes anything.
    """
    head = pods.head_pod(source.service, source.runtime, source.release, source.generation)
    worker = pods.worker_pod(source.service, source.runtime, source.release)
    tensor, pipeline = pods.sizes(source.service, source.runtime)
    executor = pods.executor_of(source.runtime, source.release)
    try:
        return head, worker, pods.counted(source.release, executor, tensor, pipeline, head, worker)
    except MultinodeError as error:
        text = f"InvalidGPUAllocation: {error.what} KServe's own text says 'is less than' for this."
        raise pods.NothingMade("gpu-allocation", text, ("spec", "predictor", "workerSpec")) from error


def _single(source: Source) -> Group:
    head = pods.head_pod(source.service, source.runtime, source.release, source.generation)
    labels, annotations = (
        _labels(source, source.runtime["spec"]),
        _annotations(source, source.runtime["spec"]),
    )
    meta = auth_proxy.with_certificate(
        source.release, objects.metadata(source.service, source.deployment, annotations, labels)
    )
    pod = _with_proxy(source, meta, pods.with_defaults(head))
    others = [objects.clients_service(meta, source.predictor, pod, source.release)]
    if annotations.get(names.AUTOSCALER_CLASS, "hpa") == "hpa":
        others.append(objects.autoscaler(meta, source.predictor))
    if names.AGENT in annotations:
        others.append(objects.model_config(source.service))
    others += _access_configs(source, meta)
    return _group(source, [_deployment(source, meta, pod)], others, (0, 0), 1)


def _with_proxy(source: Source, meta: Body, pod: Body) -> Body:
    return auth_proxy.with_proxy(source.release, meta, source.predictor, source.service, pod)


def _access_configs(source: Source, meta: Body) -> list[Body]:
    """What the head's proxy asks, where it has one that reads it."""
    if auth_proxy.kind(source.release, meta) != names.RBAC_PROXY:
        return []
    own = objects.metadata(source.service, auth_proxy.access_config_name(source.name), {}, {})
    return [auth_proxy.access_config(source.service, own)]


def _multi(source: Source) -> Group:
    head, worker, counts = merged(source)
    sizes = tensor, pipeline = pods.sizes(source.service, source.runtime)
    known = Service(
        name=source.name,
        generation=source.generation,
        tensor_parallel=tensor,
        pipeline_parallel=pipeline,
        nodes=counts.nodes,
        head_gpus=counts.head_gpus,
        worker_gpus=counts.worker_gpus,
    )
    services = {
        env.HEAD_SVC: names.head_service(source.name, source.generation),
        env.WORKER_SVC: names.workers_service(source.deployment, source.generation),
    }
    head = pods.with_environment(head, source.release, "head", known)
    worker = pods.with_environment(worker, source.release, "worker", known, services)
    metas = _metas(source)
    types = [
        gpus.allowed(meta.get("annotations") or {})
        if source.release.writes_annotated_gpu_types
        else names.GPU_RESOURCES
        for meta in metas
    ]
    head = pods.with_gpus(pods.with_defaults(head), names.HEAD_CONTAINER, counts.head_gpus, types[0])
    head = _with_proxy(source, metas[0], head)
    worker = pods.with_gpus(pods.with_defaults(worker), names.WORKER_CONTAINER, counts.worker_gpus, types[1])
    return _assembled(source, metas, (head, worker), counts, sizes)


def _assembled(
    source: Source, metas: tuple[Body, Body], specs: tuple[Body, Body], counts: Layout, sizes: tuple[int, int]
) -> Group:
    head_app, worker_app = (meta["labels"]["app"] for meta in metas)
    generation = source.generation
    how = objects.strategy(source.predictor, source.release, worker=True)
    deployments = [
        _deployment(source, metas[0], specs[0]),
        objects.deployment(metas[1], worker_app, counts.nodes - 1, how, specs[1]),
    ]
    others = [
        objects.clients_service(metas[0], source.predictor, specs[0], source.release),
        objects.headless_service(
            metas[0], names.head_service(source.deployment, generation), "head", head_app, generation
        ),
    ]
    if source.release.makes_workers_service:
        name = names.workers_service(source.deployment, generation)
        others.append(objects.headless_service(metas[0], name, "worker", worker_app, generation))
    others += _access_configs(source, metas[0])
    return _group(source, deployments, others, sizes, counts.nodes)


def _metas(source: Source) -> tuple[Body, Body]:
    """Metadata of the head's and the workers' objects."""
    spec = source.runtime["spec"]
    worker_spec = spec["workerSpec"]
    generation = {names.GENERATION_LABEL: str(source.generation)}
    head = objects.metadata(
        source.service, source.deployment, _annotations(source, spec), {**_labels(source, spec), **generation}
    )
    labels = {**_labels(source, worker_spec), **generation}
    labels["app"] = f"{names.app_label(source.deployment)}-worker"
    name = names.workers(source.name)
    worker = objects.metadata(source.service, name, _annotations(source, worker_spec), labels)
    return (
        auth_proxy.with_certificate(source.release, head),
        auth_proxy.with_certificate(source.release, worker, worker=True),
    )


def _labels(source: Source, spec: Body) -> dict[str, str]:
    return {
        **(spec.get("labels") or {}),
        **(source.service["metadata"].get("labels") or {}),
        **(source.predictor.get("labels") or {}),
        names.SERVICE_LABEL: source.name,
        names.COMPONENT_LABEL: "predictor",
        "app": names.app_label(source.deployment),
    }


def _annotations(source: Source, spec: Body) -> dict[str, str]:
    """Annotations of what is made; `spec` is the runtime's or its workerSpec's, which is not filtered."""
    dropped = names.NOT_PASSED_ON
    if source.release.annotates_model_format:
        dropped = dropped | {names.MODEL_FORMAT}
    is_worker = spec is source.runtime["spec"].get("workerSpec")
    made = {
        key: value
        for key, value in (spec.get("annotations") or {}).items()
        if is_worker or key not in dropped
    }
    own = source.service["metadata"].get("annotations") or {}
    made |= {key: value for key, value in own.items() if key not in dropped}
    model: dict[str, Any] = source.predictor["model"]
    if model.get("storageUri"):
        made[names.SOURCE_URI] = model["storageUri"]
    elif _is_multi_model(source.predictor):
        made |= agent.annotations(source.name)
    for key, value in (source.predictor.get("annotations") or {}).items():
        if key not in dropped:
            made[key] = value
    return made


def _is_multi_model(predictor: Body) -> bool:
    """Whether KServe takes the service, which has no storageUri, for a multi-model server."""
    model = predictor["model"]
    has_storage = model.get("storage") is not None or predictor.get("storageUris")
    return not has_storage and model["modelFormat"]["name"] != "huggingface"


def _deployment(source: Source, meta: Body, pod: Body) -> Body:
    how = objects.strategy(source.predictor, source.release, worker=False)
    replicas = objects.head_replicas(source.predictor, meta.get("annotations") or {}, source.release)
    return objects.deployment(meta, meta["labels"]["app"], replicas, how, pod)


def _group(
    source: Source, deployments: list[Body], others: list[Body], sizes: tuple[int, int], nodes: int
) -> Group:
    """The group, as far as the API server lets its objects in: KServe stops at the first that is rejected."""
    made, refused = _let_in(source, deployments, others)
    roles, runs = [], []
    for role, deployment in zip(("head", "worker"), deployments, strict=False):
        found, pod = _role(source, role, deployment)
        roles.append(found)
        if deployment in made and found.replicas and pod is not None:
            runs.append(pod)
    return Group(
        kind="InferenceService",
        name=source.name,
        namespace=source.service["metadata"].get("namespace", ""),
        runtime=source.runtime["metadata"]["name"],
        executor=pods.executor_of(source.runtime, source.release) if source.multi_node else "",
        tensor_parallel=sizes[0],
        pipeline_parallel=sizes[1],
        generation=source.generation,
        nodes=nodes,
        replicas=1,
        roles=tuple(roles),
        strategy=deployments[0]["spec"]["strategy"]["type"],
        objects=(*made, *runs),
        refused=refused,
    )


def _let_in(
    source: Source, deployments: list[Body], others: list[Body]
) -> tuple[list[Body], tuple[Finding, ...]]:
    """Objects up to the first that the API server rejects, and why; v0.20 makes the Services first."""
    in_order = [*others, *deployments] if source.release.makes_services_first else [*deployments, *others]
    for place, body in enumerate(in_order):
        against = tuple(api_server.objections(body))
        if against:
            role = "worker" if body in deployments[1:] else "head"
            return in_order[:place], tuple(_refusal(source, role, body, one) for one in against)
    return [*deployments, *others], ()


def _refusal(source: Source, role: str, body: Body, objection: Objection) -> Finding:
    """An objection to an object that is made, at the field of the InferenceService that it comes from."""
    if objection.path[:1] == ("metadata",):
        steps: Path = ("metadata", "name")
    elif body["kind"] == "Service":
        steps = ("spec", "predictor", "model")
    else:
        steps = origin(source.service, role, body["spec"]["template"]["spec"], objection.path)
    message = (
        f"the API server rejects the {body['kind']} {body['metadata']['name']}, and KServe stops there: "
        f"{objection.text}."
    )
    return Finding(steps, message, rule=objection.rule)


def _role(source: Source, role: str, deployment: Body) -> tuple[Role, Body | None]:
    """The role and one Pod of it, where KServe's pod webhook and the API server let it in."""
    template, name = deployment["spec"]["template"], deployment["metadata"]["name"]
    refused: tuple[Finding, ...] = ()
    pod = None
    spec = template["spec"]
    try:
        meta, spec = storage.admitted(template["metadata"], spec, source.release)
    except storage.PodRefused as refusal:
        message = f"KServe's pod webhook rejects every {role} pod: {refusal}."
        path: Path = ("spec", "predictor", "model", "storageUri")
        refused = (Finding(path, message, rule="oci-workers-refused"),)
    else:
        refused = tuple(
            Finding(
                origin(source.service, role, spec, one.path),
                f"the API server rejects the {role}'s pods: {one.text}.",
                rule=one.rule,
            )
            for one in api_server.pod_objections(spec)
        )
        pod = None if refused else objects.pod(meta, name, spec)
    main = names.HEAD_CONTAINER if role == "head" else names.WORKER_CONTAINER
    count, resource = gpus.held(spec)
    replicas = deployment["spec"]["replicas"]
    return Role(role, name, replicas, count, resource, main, spec, refused), pod
