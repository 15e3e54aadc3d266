"""Fields of a deployment spec as manifests of our own show them: suggestions, held against a rendering."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from vllm_multinode.authoring.render import names
from vllm_multinode.authoring.render.lws import NAME as LWS_NAME
from vllm_multinode.authoring.spec.accelerators import RESOURCES, product_label
from vllm_multinode.contract import env, kserve, labels
from vllm_multinode.contract.executors import EXECUTORS
from vllm_multinode.contract.numbers import is_count
from vllm_multinode.convert import engine_arguments, hardware
from vllm_multinode.convert.draft import Draft, Fields
from vllm_multinode.convert.engine_arguments import Given
from vllm_multinode.convert.own_companions import take_companions, take_model
from vllm_multinode.convert.record import Record
from vllm_multinode.k8s.access import listed, mapping
from vllm_multinode.platforms import kueue
from vllm_multinode.platforms import names as platform

Body = Mapping[str, Any]

SERVICES: Final = ("InferenceService", "LeaderWorkerSet")
_PLACEMENT: Final = (
    "nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName",
    "schedulerName", "runtimeClassName",
)  # fmt: skip
_OURS: Final = frozenset({labels.MANAGED_BY, labels.PART_OF, labels.COMPONENT})
_STEERING: Final = (platform.DEPLOYMENT_MODE, platform.AUTOSCALER_CLASS, platform.GPU_TYPES)
_SET_BY_POD: Final = frozenset(
    {env.ACCELERATOR, env.TOKEN_FILE, env.DRAIN_TIMEOUT, env.MODEL_TIMEOUT, env.START_TIMEOUT, env.API_KEY}
)


def suggested(service: str, bodies: Sequence[Body], draft: Draft) -> Fields:
    """What the objects of one service say of its spec.

    Args:
        service: the name that they are part of.
        bodies: every object of it.
        draft: what the reader of foreign services made of its first InferenceService or LeaderWorkerSet.
    """
    fields = Draft(service, {**draft.fields, "name": service})
    groups = [body for body in bodies if body.get("kind") in SERVICES]
    group = groups[0]
    is_set = group.get("kind") == "LeaderWorkerSet"
    head, worker, container = _pods(group)
    _service(fields, group, is_set, mapping(group, "spec").get("replicas") if is_set else len(groups))
    _environment(fields, container, is_set)
    _arguments(fields, container, is_set)
    _pod(fields, head, container)
    _placement(fields, head, worker)
    take_model(fields, bodies)
    take_companions(fields, service, bodies)
    return fields.fields


def _pods(group: Body) -> tuple[Body, Body, Body]:
    """The head's pod, the worker's, and the head's container."""
    if group.get("kind") == "LeaderWorkerSet":
        template = mapping(group, "spec", "leaderWorkerTemplate")
        head = mapping(template, "leaderTemplate", "spec")
        container = next((one for one in listed(head, "containers") if isinstance(one, Mapping)), {})
        return head, mapping(template, "workerTemplate", "spec"), container
    predictor = mapping(group, "spec", "predictor")
    return predictor, mapping(predictor, "workerSpec"), mapping(predictor, "model")


def _service(fields: Draft, group: Body, is_set: bool, replicas: Any) -> None:
    metadata = mapping(group, "metadata")
    if isinstance(metadata.get("namespace"), str):
        fields.set("namespace", metadata["namespace"])
    if is_set:
        rolling = mapping(group, "spec").get("rolloutStrategy") is not None
        fields.set("deploymentStrategy", "RollingUpdate" if rolling else "Recreate")
    if isinstance(replicas, int) and replicas > 1:
        fields.set("replicas", replicas)
    queue = mapping(metadata, "labels").get(kueue.QUEUE)
    if queue is not None:
        fields.set("queue", queue)
    kind = mapping(metadata, "annotations").get(names.ACCELERATOR)
    if kind in RESOURCES:
        fields.set("accelerator.type", kind)
    networks = mapping(metadata, "annotations").get(names.NETWORKS)
    if isinstance(networks, str):
        fields.set("network.attachments", networks.split(","))
    for field in ("labels", "annotations"):
        fields.fields.pop(field, None)
        for key, value in mapping(metadata, field).items():
            if key not in _OURS and key not in _STEERING and not key.startswith(kueue.PREFIX):
                fields.put(field, key, value)


def _environment(fields: Draft, container: Body, is_set: bool) -> None:
    """The user's variables, and what the others say elsewhere."""
    fields.fields.pop("env", None)
    fields.set("tokenSecret", False)
    for item in listed(container, "env"):
        if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
            continue
        name, value = item["name"], item.get("value")
        if is_set and _injected(fields, name, value):
            continue
        if name == env.EXECUTOR:
            fields.set("executor", value)
        elif name == env.ACCELERATOR and value == "cpu":
            fields.set("accelerator.type", "none")
        elif name == env.API_KEY:
            fields.set("apiKeySecret", mapping(item, "valueFrom", "secretKeyRef"))
        elif name not in _SET_BY_POD and not name.startswith("MULTINODE_"):
            fields.put("env", name, value if "valueFrom" not in item else {"valueFrom": item["valueFrom"]})


def _injected(fields: Draft, name: str, value: Any) -> bool:
    """Take a variable that KServe would inject, and a LeaderWorkerSet writes; whether it is one."""
    sizes = {
        env.TENSOR_PARALLEL_SIZE: "parallelism.tensor",
        env.PIPELINE_PARALLEL_SIZE: "parallelism.pipeline",
        env.REQUEST_GPU_COUNT: "accelerator.perNode",
    }
    if name in sizes:
        fields.set(sizes[name], _number(value))
    elif name == env.MODEL_SOURCE and str(value).startswith(kserve.CLAIM_SCHEME):
        claim, folder = kserve.claim_and_path(str(value))
        fields.set("model.claim", claim)
        fields.set("model.path", folder.strip("/"))
    else:
        return name == env.MODEL_NAME
    return True


def _arguments(fields: Draft, container: Body, is_set: bool) -> None:
    """vLLM's own arguments; the launcher's stands before them in a LeaderWorkerSet."""
    for target in ("arguments", "context"):
        fields.fields.pop(target, None)
    (fields.get("model") or {}).pop("servedName", None)
    words = [str(word) for word in listed(container, "args")][1 if is_set else 0 :]
    record, scratch = Record({"args": words}, ""), Draft(fields.name)
    engine_arguments.from_list(
        record, scratch, [Given(word, ("args", i)) for i, word in enumerate(words)], {}
    )
    hardware.take_resources(Record({"resources": container.get("resources")}, ""), scratch, ("resources",))
    fields.fields.pop("resources", None)
    for field in ("arguments", "context", "resources"):
        if scratch.get(field) is not None:
            fields.set(field, scratch.get(field))
    for field in ("model.servedName", "network.rdma"):
        if scratch.get(field) is not None:
            fields.set(field, scratch.get(field))


def _pod(fields: Draft, head: Body, container: Body) -> None:
    grace = head.get("terminationGracePeriodSeconds")
    if isinstance(grace, int):
        fields.set("drain", max(0, grace - names.grace_period(0)))
    failures = mapping(container, "startupProbe").get("failureThreshold")
    if isinstance(failures, int):
        fields.set("startup", failures * 10)
    if isinstance(container.get("image"), str):
        fields.set("image", container["image"])
    fields.fields.pop("securityContext", None)
    for place, field in ((head, "podSecurityContext"), (container, "securityContext")):
        if mapping(place, "securityContext"):
            fields.set(field, dict(mapping(place, "securityContext")))
    _runtime(fields, container)
    _accelerator(fields, container)
    for volume in listed(head, "volumes"):
        if mapping(volume).get("name") == names.TOKEN_VOLUME:
            items = listed(mapping(volume), "secret", "items")
            key = mapping(items[0] if items else {}).get("key", "token")
            fields.set("tokenSecret", {"name": mapping(volume, "secret").get("secretName"), "key": key})


def _runtime(fields: Draft, container: Body) -> None:
    runtime = container.get("runtime")
    if isinstance(runtime, str):
        executor = next((key for key, one in EXECUTORS.items() if one.runtime == runtime), None)
        if executor is not None:
            fields.set("executor", executor)
        else:
            fields.set("runtime", {"name": runtime})


def _accelerator(fields: Draft, container: Body) -> None:
    kind = fields.get("accelerator.type")
    devices = {
        name: count for name, count in mapping(container, "resources", "limits").items() if "/" in name
    }
    name = next((name for name in devices if name in RESOURCES.values()), next(iter(devices), None))
    if name is not None:
        fields.set("accelerator.perNode", _number(devices[name]))
        if kind not in RESOURCES or name != RESOURCES[kind]:
            fields.set("accelerator.resource", name)
        (fields.get("resources.other") or {}).pop(name, None)


def _placement(fields: Draft, head: Body, worker: Body) -> None:
    fields.fields.pop("placement", None)
    selector = mapping(head, "nodeSelector")
    label = product_label(fields.get("accelerator.type") or "nvidia")
    if label is not None and label in selector:
        fields.set("accelerator.product", selector[label])
    for field in _PLACEMENT:
        ours, theirs = _of_user(head.get(field)), _of_user(worker.get(field))
        if ours not in (None, {}, []):
            fields.set(f"placement.{field}", ours)
        if theirs != ours:
            fields.set(f"placement.worker.{field}", theirs if theirs is not None else [])
            if ours is not None:
                fields.set(f"placement.head.{field}", ours)
    terms = listed(
        mapping(head, "affinity", "podAffinity").get("requiredDuringSchedulingIgnoredDuringExecution")
    )
    for term in terms:
        if _selects_group(mapping(term)):
            fields.set("placement.topologyKey", mapping(term).get("topologyKey"))


def _of_user(value: Any) -> Any:
    """Placement without what is rendered for every group."""
    if isinstance(value, Mapping) and "podAffinity" in value:
        terms = [
            mapping(term, "podAffinityTerm") or mapping(term)
            for kind in mapping(value, "podAffinity").values()
            for term in listed(kind)
        ]
        if len(terms) == 1 and _selects_group(terms[0]):
            return {key: one for key, one in value.items() if key != "podAffinity"} or None
    if isinstance(value, list):
        return [
            {
                key: one
                for key, one in item.items()
                if not (key in ("labelSelector", "matchLabelKeys") and _selects_group(item))
            }
            if isinstance(item, Mapping)
            else item
            for item in value
        ]
    return value


def _selects_group(term: Body) -> bool:
    chosen = mapping(term, "labelSelector", "matchLabels").keys()
    return bool(chosen & {platform.SERVICE_LABEL, LWS_NAME})


def _number(value: Any) -> Any:
    return int(value) if is_count(str(value)) else value
