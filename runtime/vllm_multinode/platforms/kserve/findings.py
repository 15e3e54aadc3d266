"""What the webhooks let through and what then never serves, is overwritten or is left out."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from vllm_multinode.contract.executors import KSERVE_EXECUTOR, counted_by_kserve
from vllm_multinode.contract.finding import Edit, Finding, Path
from vllm_multinode.platforms import gpus, names
from vllm_multinode.platforms.kserve import auth_proxy, containers
from vllm_multinode.platforms.kserve.pods import panic
from vllm_multinode.platforms.kserve.reconcile import Source
from vllm_multinode.platforms.releases import Release, alternative
from vllm_multinode.platforms.simulation import Body, Group

_PREDICTOR: Final[Path] = ("spec", "predictor")
_MODEL: Final[Path] = (*_PREDICTOR, "model")
_WORKER: Final[Path] = (*_PREDICTOR, "workerSpec")
_MODE: Final[Path] = ("metadata", "annotations", names.DEPLOYMENT_MODE)
_DEFAULT_NAMESPACE: Final = "default"
_MODEL_MESH: Final = "ModelMesh"

# Rules of findings after which KServe makes nothing at all.
_ENDS: Final = frozenset(
    {"host-name-length", "deployment-mode-knative", "deployment-mode-modelmesh", "stopped"}
)


def of_service(body: Mapping[str, Any], service: Body, release: Release) -> list[Finding]:
    """What an InferenceService shows by itself.

    Args:
        body: as it was written.
        service: after KServe's defaulting.
        release: of KServe or OpenShift AI.
    """
    multi_node = service["spec"]["predictor"].get("workerSpec") is not None
    written = body["spec"]["predictor"].get("workerSpec") is not None
    found = [*_host(service), *_mode(service, release, multi_node=multi_node)]
    if written and not release.knows_worker_spec:
        found.append(Finding(_WORKER, rule="worker-spec-ignored"))
    if multi_node:
        found += [*_names(service, release), *_replicas(service, release)]
        if release.recreates_workers:
            message = (
                f"{release.label} deletes the workers' Deployment and the head's and workers' Services "
                "on every reconcile and creates them again, endlessly (kserve#6113)."
            )
            found.append(Finding(_WORKER, message, alternative(release), rule="workers-recreated"))
        if service["spec"]["predictor"].get("model") is None:
            message = (
                "a predictor that has a workerSpec and no model gets no ServingRuntime, and nothing is "
                f"created: {panic(release)}"
            )
            found.append(Finding(_WORKER, message, rule="custom-predictor"))
    return found


def ends_everything(found: list[Finding]) -> bool:
    """Whether KServe makes nothing after findings of a service."""
    return any(one.rule in _ENDS for one in found)


def of_group(source: Source, group: Group) -> Iterator[Finding]:
    """What shows in what is made of a service over several nodes."""
    yield from group.refused
    if not group.refused:
        for role in group.roles:
            yield from role.refused
    if source.multi_node:
        yield from _auth_proxy(source)
        yield from _executor(source, group)
        yield from _overwritten(source, group)
        yield from _placeholders(group)
        yield from _uncounted(source, group)
        yield from _two_types(group)


def _host(service: Body) -> Iterator[Finding]:
    name, namespace = service["metadata"]["name"], service["metadata"].get("namespace", "")
    length = len(f"{names.predictor(name)}-{namespace or _DEFAULT_NAMESPACE}")
    if length > names.LABEL_LIMIT:
        where = (
            f"in the namespace {namespace}" if namespace else f"even in the namespace {_DEFAULT_NAMESPACE}"
        )
        message = (
            f"KServe creates no Deployment: the host name <name>-predictor-<namespace> has {length} "
            f"characters {where}, and {names.LABEL_LIMIT} are allowed; only an event says 'failed "
            "creating host name'."
        )
        yield Finding(("metadata", "name"), message, rule="host-name-length")


def _mode(service: Body, release: Release, *, multi_node: bool) -> Iterator[Finding]:
    annotations = service["metadata"]["annotations"]
    mode = annotations[names.DEPLOYMENT_MODE]
    fix = (Edit(_MODE, "RawDeployment"),) if multi_node else ()
    if mode in release.knative_modes:
        yield Finding(_MODE, fix=fix, rule="deployment-mode-knative")
    elif mode == _MODEL_MESH:
        yield Finding(_MODE, fix=fix, rule="deployment-mode-modelmesh")
    if release.knows_stop_annotation and annotations.get(names.STOP, "").lower() == "true":
        yield Finding(("metadata", "annotations", names.STOP), rule="stopped")


def _names(service: Body, release: Release) -> Iterator[Finding]:
    name = service["metadata"]["name"]
    label = names.app_label(names.workers(name))
    if len(label) > names.LABEL_LIMIT:
        most = names.LABEL_LIMIT - len(names.app_label(names.workers("")))
        message = (
            f"KServe cannot create the workers' Deployment: its label app=isvc.<name>-predictor-worker has "
            f"{len(label)} characters, and {names.LABEL_LIMIT} are allowed."
        )
        hint = f"Shorten the name to {most} characters."
        yield Finding(("metadata", "name"), message, hint, rule="label-length")
    variant = service["spec"]["predictor"].get("name", "") if release.knows_variants else ""
    told, is_named = names.head_service(name, 1), names.head_service(names.predictor(name, variant), 1)
    if told != is_named:
        message = f"the workers look for their head at {told}, and KServe names that Service {is_named}."
        path: Path = (*_PREDICTOR, "name") if variant else ("metadata", "name")
        hint = (
            "Leave spec.predictor.name out." if variant else "Choose a name that does not end in -predictor."
        )
        yield Finding(path, message, hint, rule="head-service-name")


def _replicas(service: Body, release: Release) -> Iterator[Finding]:
    least = service["spec"]["predictor"].get("minReplicas")
    path: Path = (*_PREDICTOR, "minReplicas")
    if not release.scales_head_by_min_replicas or least is None:
        return
    if least == 0:
        yield Finding(path, rule="no-replicas")
    elif least > 1:
        message = (
            f"KServe creates {least} heads but the workers of only one group: the other heads never "
            "form, and the service never becomes ready."
        )
        yield Finding(path, message, rule="many-replicas")


def _auth_proxy(source: Source) -> Iterator[Finding]:
    metadata = source.service["metadata"]
    proxy = auth_proxy.kind(source.release, metadata)
    if not proxy:
        return
    clients = names.predictor(source.name)
    how = f"the Service {clients} opens port {auth_proxy.PORT} instead of 80"
    if not auth_proxy.is_asked_for(source.release, metadata):
        how = f"the Service {clients} goes past it as long as {names.ENABLE_AUTH} is not true"
    message = (
        f"{source.release.label} adds the container {proxy} and port {auth_proxy.PORT} to the head, in front "
        f"of the engine; {how}."
    )
    yield Finding(("metadata", "annotations", names.ENABLE_AUTH), message, rule="auth-proxy")


def _executor(source: Source, group: Group) -> Iterator[Finding]:
    """An annotation that means mp and is taken for ray, where that makes other nodes."""
    sizes = (group.pipeline_parallel, group.tensor_parallel)
    head, *workers = group.roles
    counts = {
        one.gpus for one in (head, *workers) if one.replicas and one.gpus
    }  # none where CPUs are counted
    as_meant = group.nodes == sizes[0] and counts <= {sizes[1]}
    if group.executor != KSERVE_EXECUTOR or as_meant:
        return
    annotated = (
        (source.runtime["spec"].get("annotations"), _WORKER, "the ServingRuntime"),
        (
            source.service["metadata"].get("annotations"),
            ("metadata", "annotations", names.EXECUTOR),
            "the InferenceService",
        ),
        (source.predictor.get("annotations"), (*_PREDICTOR, "annotations", names.EXECUTOR), "spec.predictor"),
    )
    for annotations, path, where in annotated:
        value = (annotations or {}).get(names.EXECUTOR, "")
        if counted_by_kserve(value.strip().lower()) != KSERVE_EXECUTOR:
            message = (
                f"{source.release.label} takes {names.EXECUTOR}: {value} on {where} for ray and makes "
                f"{group.nodes} nodes, {head.gpus} GPUs on the head; mp wants {sizes[0]} nodes of "
                f"{sizes[1]}."
            )
            hint = f"Request {sizes[1]} GPUs on head and worker."
            if source.release.knows_mp_annotation:
                hint = "Write exactly mp, into spec.annotations of the ServingRuntime."
            yield Finding(path, message, hint, rule="executor-ignored")
            return


def _overwritten(source: Source, group: Group) -> Iterator[Finding]:
    """GPU requests that do not stay."""
    workers = source.predictor["workerSpec"].get("containers") or [{}]
    written: dict[str, tuple[Path, Mapping[str, Any]]] = {
        "head": (_MODEL, source.predictor["model"]),
        "worker": ((*_WORKER, "containers", 0), workers[0]),
    }
    for role in group.roles:
        path, container = written[role.role]
        count = gpus.requested(container)
        if count and role.replicas and count != role.gpus:
            message = f"the {role.role}'s request of {count} GPUs is overwritten by {role.gpus}."
            yield Finding((*path, "resources", "requests"), message, rule="gpu-request-overwritten")


def _placeholders(group: Group) -> Iterator[Finding]:
    left = containers.placeholders(group.roles[1].pod["containers"][0])
    if left:
        message = (
            f"{', '.join(left)} is not filled in for the workers: "
            "KServe replaces placeholders only in the head."
        )
        yield Finding(_WORKER, message, rule="worker-placeholder")


def _uncounted(source: Source, group: Group) -> Iterator[Finding]:
    """GPUs of a type that an annotation allows, and that nodes are not counted by."""
    if not source.release.counts_nodes_by_gpu_requests or group.executor != KSERVE_EXECUTOR:
        return
    asked = {name for role in group.roles for one in role.pod["containers"] for name in gpus.resources(one)}
    own = sorted(name for name in asked if gpus.is_gpu(name) and name not in names.GPU_RESOURCES)
    if own:
        message = (
            f"{', '.join(own)} is allowed but not counted: nodes follow "
            "only from KServe's own four GPU types, unless the ConfigMap's "
            "multiNode.customGPUResourceTypeList names it."
        )
        yield Finding(("metadata", "annotations", names.GPU_TYPES), message, rule="gpu-type-not-counted")


def _two_types(group: Group) -> Iterator[Finding]:
    """KServe looks for the first GPU in a Go map, whose order is a new one each time it is walked."""
    for role in group.roles:
        asked = gpus.resources(role.pod["containers"][0])
        named = [name for name in names.GPU_RESOURCES if name in asked]
        if len(named) > 1:
            message = (
                f"the {role.role}'s pods request {' and '.join(named)}: no node has both, and if "
                "nodes follow from GPU requests, KServe counts one of them at random."
            )
            path = (*_WORKER, "containers", 0) if role.role == "worker" else _MODEL
            yield Finding((*path, "resources"), message, rule="gpu-types-mixed")
