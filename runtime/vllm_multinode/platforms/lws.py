"""The first group of pods that LeaderWorkerSet's controller makes; the others differ in their index alone.

Hashes that only the cluster knows (template-revision-hash, group-key) are left out.

Source: sigs.k8s.io/lws v0.7.0, pkg/controllers, pkg/webhooks/pod_webhook.go and pkg/utils/pod.
"""

from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.contract import env
from vllm_multinode.k8s.merge import as_go_writes
from vllm_multinode.platforms import gpus
from vllm_multinode.platforms.simulation import Body, Group, Role

_PREFIX: Final = "leaderworkerset.sigs.k8s.io/"
_UNIQUE: Final = "UniquePerReplica"
_MOST_PODS: Final = 64  # of one group that are written out
_DEFAULT_NAMESPACE: Final = "default"


def lws_group(body: Mapping[str, Any]) -> Group:
    """The first group of a LeaderWorkerSet: StatefulSets, headless Service and pods."""
    cleaned: Body = as_go_writes(body)
    spec, name = cleaned["spec"], cleaned["metadata"]["name"]
    template = spec["leaderWorkerTemplate"]
    size = template.get("size", 1)
    worker = template["workerTemplate"]
    leader = template.get("leaderTemplate") or worker
    unique = (spec.get("networkConfig") or {}).get("subdomainPolicy") == _UNIQUE
    made = [
        _stateful_set(cleaned, name, name, spec.get("replicas", 1), leader, 0),
        _service(cleaned, f"{name}-0" if unique else name, {"group-index": "0"} if unique else {}),
    ]
    if size > 1:
        subdomain = f"{name}-0" if unique else name
        made.append(_stateful_set(cleaned, f"{name}-0", subdomain, size - 1, worker, 1))
    pods = [
        _pod(cleaned, leader if index == 0 else worker, index, size, unique=unique)
        for index in range(min(size, _MOST_PODS))
    ]
    return Group(
        kind="LeaderWorkerSet",
        name=name,
        namespace=cleaned["metadata"].get("namespace", ""),
        runtime="",
        executor="",
        tensor_parallel=0,
        pipeline_parallel=0,
        generation=1,
        nodes=size,
        replicas=spec.get("replicas", 1),
        roles=_roles(name, size, pods),
        strategy=(spec.get("rolloutStrategy") or {}).get("type", "RollingUpdate"),
        objects=tuple(made + pods),
    )


def _roles(name: str, size: int, pods: list[Body]) -> tuple[Role, ...]:
    roles = []
    for role, deployment, replicas, pod in (
        ("head", name, 1, pods[0] if pods else None),
        ("worker", f"{name}-0", size - 1, pods[1] if len(pods) > 1 else None),
    ):
        if pod is not None:
            count, resource = gpus.held(pod["spec"])
            main = pod["spec"]["containers"][0]["name"] if pod["spec"].get("containers") else ""
            roles.append(Role(role, deployment, replicas, count, resource, main, pod["spec"]))
    return tuple(roles)


def _metadata(body: Body, name: str, labels: Mapping[str, str]) -> Body:
    own = body["metadata"]
    made: Body = {"name": name}
    if own.get("namespace"):
        made["namespace"] = own["namespace"]
    made["labels"] = {f"{_PREFIX}name": own["name"]} | {
        f"{_PREFIX}{key}": value for key, value in labels.items()
    }
    return made


def _stateful_set(body: Body, name: str, service: str, replicas: int, template: Body, start: int) -> Body:
    set_name = body["metadata"]["name"]
    selector = {f"{_PREFIX}name": set_name}
    selector |= {f"{_PREFIX}group-index": "0"} if start else {f"{_PREFIX}worker-index": "0"}
    spec: Body = {
        "serviceName": service,
        "replicas": replicas,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": selector},
        "template": {"metadata": template.get("metadata") or {}, "spec": template["spec"]},
    }
    if start:
        spec["ordinals"] = {"start": start}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": _metadata(body, name, {"group-index": "0"} if start else {}),
        "spec": spec,
    }


def _service(body: Body, name: str, selector: Mapping[str, str]) -> Body:
    wanted = {f"{_PREFIX}name": body["metadata"]["name"]}
    wanted |= {f"{_PREFIX}{key}": value for key, value in selector.items()}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(body, name, {}),
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": wanted},
    }


def _pod(body: Body, template: Body, index: int, size: int, *, unique: bool) -> Body:
    name = body["metadata"]["name"]
    leader = f"{name}-0"
    subdomain = leader if unique else name
    namespace = body["metadata"].get("namespace", _DEFAULT_NAMESPACE)
    variables = {
        env.LWS_LEADER_ADDRESS: f"{leader}.{subdomain}.{namespace}",
        env.LWS_GROUP_SIZE: str(size),
        env.LWS_WORKER_INDEX: str(index),
    }
    own = template.get("metadata") or {}
    meta = _metadata(
        body, f"{leader}-{index}" if index else leader, {"group-index": "0", "worker-index": str(index)}
    )
    meta["labels"] = {**(own.get("labels") or {}), **meta["labels"]}
    meta["annotations"] = {**(own.get("annotations") or {}), f"{_PREFIX}size": str(size)}
    if index:
        meta["annotations"][f"{_PREFIX}leader-name"] = leader
    spec = {**template["spec"], "hostname": meta["name"], "subdomain": subdomain}
    for part in ("containers", "initContainers"):
        if spec.get(part):
            spec[part] = [_with_variables(one, variables) for one in spec[part]]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _with_variables(container: Body, variables: Mapping[str, str]) -> Body:
    """LeaderWorkerSet puts its own first and drops a container's of the same name."""
    own = [one for one in container.get("env") or [] if one["name"] not in variables]
    first = [{"name": key, "value": value} for key, value in variables.items()]
    return {**container, "env": [*first, *own]}
