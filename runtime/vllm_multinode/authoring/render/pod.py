"""What one deployment spec says of a role's pods: fields of the pod, and changes of its container."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from vllm_multinode.authoring.render import affinity, names, publish
from vllm_multinode.authoring.render.container import shared_memory_volume
from vllm_multinode.authoring.render.fetch import LONGEST_SECONDS
from vllm_multinode.authoring.render.images import default_image
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.authoring.spec.accelerators import product_label
from vllm_multinode.authoring.spec.arguments import as_list
from vllm_multinode.authoring.spec.parts import EnvSource, SpreadConstraint
from vllm_multinode.contract import env
from vllm_multinode.contract.kserve import Role
from vllm_multinode.contract.labels import MANAGED_BY, MANAGER, PART_OF
from vllm_multinode.k8s.quantity import parse
from vllm_multinode.sizing.planner.startup import startup_budget

Object = dict[str, Any]

_CLAIM_BYTES_PER_SECOND = 1e9
# Scheduling and pulling an image of some 10 GB on the last of the nodes, while the first ones wait for it.
_FORMING_SECONDS = 600
_PROBE_PERIOD = 10
# Where the spec does not say it: a few threads of Python, and what they and the loading of shards hold.
CPU = "4"
"""To request where the spec does not say it."""
_PROCESSES_BYTES = 16 * 2**30
_CPU_ENGINE_BYTES = 3 * 2**30
_PORT_RANGE = "net.ipv4.ip_local_port_range"


def pod_fields(spec: DeploymentSpec, role: Role, group_labels: Mapping[str, Any]) -> Object:
    """Every field of the pod but containers and volumes.

    Args:
        spec: what is meant.
        role: whose pods.
        group_labels: label selector of the group's own pods, for topology spread.
    """
    placement = spec.placements[role]
    fields = {
        "securityContext": _pod_security_context(spec),
        "serviceAccountName": spec.service_account_name,
        # Nothing in these pods speaks to the Kubernetes API.
        "automountServiceAccountToken": False,
        "imagePullSecrets": [{"name": name} for name in spec.image_pull_secrets],
        "nodeSelector": _node_selector(spec, role),
        "affinity": affinity.together(_preferring(spec, role), spec.placement.topology_key, group_labels),
        "tolerations": [written(one) for one in placement.tolerations or ()],
        "topologySpreadConstraints": [
            _spread(one, group_labels) for one in placement.topology_spread_constraints or ()
        ],
        "priorityClassName": placement.priority_class_name,
        "schedulerName": placement.scheduler_name,
        "runtimeClassName": placement.runtime_class_name,
        "terminationGracePeriodSeconds": names.grace_period(spec.drain),
        # A Service named vllm would otherwise set VLLM_PORT, which vLLM rejects.
        "enableServiceLinks": False,
    }
    return said(fields)


def container_fields(spec: DeploymentSpec, role: Role) -> Object:
    """What the spec adds to the container that every deployment has."""
    fields = {
        "image": image(spec),
        "args": engine_arguments(spec) if role == "head" else [],
        "env": [*environment(spec), *(_api_key(spec) if role == "head" else ())],
        "resources": _resources(spec),
        "securityContext": _security_context(spec),
        "startupProbe": _startup_probe(spec),
        "volumeMounts": [*_token_mounts(spec), *(_certificate_mounts(spec) if role == "head" else ())],
    }
    return said(fields)


def image(spec: DeploymentSpec) -> str | None:
    """The image, where it is not the one that the ServingRuntime names anyway."""
    kind = spec.accelerator.type
    if spec.image is not None or kind == "nvidia" or not spec.writes_runtime:
        return spec.image
    return default_image(spec.install, kind, spec.executor)


def volumes(spec: DeploymentSpec, role: Role) -> list[Object]:
    """The volumes that the spec changes or adds to the pods of a role."""
    found = [shared_memory_volume(spec.shared_memory)]
    if spec.token is not None:
        # By its key: a pod waits until the key is there.
        items = [{"key": spec.token.key, "path": spec.token.key}]
        secret = {"secretName": spec.token.name, "items": items}
        found.append({"name": names.TOKEN_VOLUME, "secret": secret})
    if role == "head" and publish.reencrypts(spec):
        found.append({"name": names.CERTIFICATE_VOLUME, "secret": {"secretName": publish.service_name(spec)}})
    return found


def engine_arguments(spec: DeploymentSpec) -> list[str]:
    """vLLM's arguments, of the head alone: under mp the workers take them over."""
    given: list[str] = []
    served = spec.model.served_name
    if served is None and spec.replicas > 1:
        # KServe's MODEL_NAME differs from replica to replica; clients ask for one.
        served = spec.name
    if served is not None:
        given.append(f"--served-model-name={served}")
    if spec.context is not None:
        given.append(f"--max-model-len={spec.context}")
    if publish.reencrypts(spec):
        given += [
            f"--ssl-certfile={names.CERTIFICATE_FOLDER}/tls.crt",
            f"--ssl-keyfile={names.CERTIFICATE_FOLDER}/tls.key",
        ]
    return [*given, *as_list(spec.arguments)]


def environment(spec: DeploymentSpec) -> list[Object]:
    """The variables of both roles."""
    budget = startup_seconds(spec)
    ours = {
        env.ACCELERATOR: "cpu" if spec.accelerator.type == "none" else None,
        env.TOKEN_FILE: f"{names.TOKEN_FOLDER}/{spec.token.key}" if spec.token else None,
        env.DRAIN_TIMEOUT: str(spec.drain) if spec.drain != names.DEFAULT_DRAIN_SECONDS else None,
        # The launcher's own limit, which would otherwise come first.
        env.MODEL_TIMEOUT: str(LONGEST_SECONDS) if spec.model.source else None,
        env.START_TIMEOUT: str(budget) if budget > names.DEFAULT_STARTUP_SECONDS else None,
    }
    rdma = spec.network.rdma.env if spec.network.rdma is not None else {}
    variables: dict[str, str | EnvSource] = {name: value for name, value in ours.items() if value is not None}
    variables |= {**rdma, **spec.env}
    return written_variables(variables)


def written_variables(variables: Mapping[str, str | EnvSource]) -> list[Object]:
    """Variables as a container has them."""
    return [
        {"name": name, **(written(value) if isinstance(value, EnvSource) else {"value": value})}
        for name, value in variables.items()
    ]


def startup_seconds(spec: DeploymentSpec) -> int:
    """What a pod may take from its container's start to the first answer of the engine."""
    if spec.startup is not None:
        return spec.startup
    if spec.weights is None:
        return names.DEFAULT_STARTUP_SECONDS
    on_node = float(parse(spec.weights)) / spec.nodes
    seconds = _FORMING_SECONDS + startup_budget(on_node / _CLAIM_BYTES_PER_SECOND)
    return math.ceil(seconds / _PROBE_PERIOD) * _PROBE_PERIOD


def labels(spec: DeploymentSpec) -> dict[str, str]:
    """Of every object, and by KServe of every pod."""
    return {MANAGED_BY: MANAGER, PART_OF: spec.name, **spec.labels}


def annotations(spec: DeploymentSpec) -> dict[str, str]:
    """Of the service and its pods, but for KServe's own."""
    networks = {names.NETWORKS: ",".join(spec.network.attachments)} if spec.network.attachments else {}
    return {**networks, **spec.annotations}


def metadata(spec: DeploymentSpec, name: str) -> Object:
    """Of any object but the service itself."""
    where = {"namespace": spec.namespace} if spec.namespace else {}
    return {"name": name, **where, "labels": labels(spec)}


def written(part: BaseModel) -> Object:
    """A part as Kubernetes writes it, without what was not said."""
    return part.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)


def said(fields: Mapping[str, Any]) -> Object:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value is not None and value not in ({}, [])}


def _preferring(spec: DeploymentSpec, role: Role) -> Mapping[str, Any] | None:
    """The affinity that the spec gives, with the nodes that it names first."""
    given, nodes = spec.placements[role].affinity, spec.placement.preferred_nodes
    if not nodes:
        return given
    of_nodes = dict((given or {}).get("nodeAffinity") or {})
    field = "preferredDuringSchedulingIgnoredDuringExecution"
    named = {"key": "kubernetes.io/hostname", "operator": "In", "values": list(nodes)}
    term = {"weight": 100, "preference": {"matchExpressions": [named]}}
    return {**(given or {}), "nodeAffinity": {**of_nodes, field: [*of_nodes.get(field, ()), term]}}


def _spread(constraint: SpreadConstraint, group_labels: Mapping[str, Any]) -> Object:
    """Kubernetes wants maxSkew and whenUnsatisfiable said, and counts no pod without a selector."""
    said_of_it = constraint.model_dump(by_alias=True, exclude_none=True)
    return {**said_of_it, **{key: value for key, value in group_labels.items() if key not in said_of_it}}


def _resources(spec: DeploymentSpec) -> Object:
    """Accelerators stand under both, since KServe counts the requests and Kubernetes the limits."""
    asked = spec.resources
    devices = dict(accelerators(spec))
    if spec.network.rdma is not None:
        devices[spec.network.rdma.resource] = str(spec.network.rdma.count)
    devices |= asked.other
    requests = {
        # Of a CPU engine KServe writes the number of ranks over it.
        "cpu": asked.cpu or (None if spec.accelerator.type == "none" else limited(CPU, asked.cpu_limit)),
        "memory": asked.memory or limited(_memory(spec), asked.memory_limit),
        "ephemeral-storage": asked.ephemeral_storage,
    }
    limits = {"cpu": asked.cpu_limit, "memory": asked.memory_limit}
    return said({"requests": said(requests) | devices, "limits": said(limits) | devices})


def _memory(spec: DeploymentSpec) -> str:
    """What the processes take beside /dev/shm, which counts as memory as it fills."""
    beside = _CPU_ENGINE_BYTES if spec.accelerator.type == "none" else _PROCESSES_BYTES
    return f"{math.ceil((float(parse(spec.shared_memory)) + beside) / 2**30)}Gi"


def limited(request: str, limit: str | None) -> str:
    """A request of ours is not above a limit of the user's."""
    return limit if limit is not None and parse(limit) < parse(request) else request


def accelerators(spec: DeploymentSpec) -> dict[str, str]:
    """The accelerators of one pod; none of a CPU engine, unless the spec names a resource."""
    if spec.accelerator.type == "none" and spec.accelerator.resource is None:
        return {}
    return {spec.accelerator_resource: str(spec.per_node)}


def _node_selector(spec: DeploymentSpec, role: Role) -> dict[str, str]:
    pool = spec.placement.pool
    selector = {**(pool.labels if pool else {}), **(spec.placements[role].node_selector or {})}
    label = product_label(spec.accelerator.type)
    if spec.accelerator.product is not None and label is not None:
        selector = {label: spec.accelerator.product} | selector
    return selector


def _pod_security_context(spec: DeploymentSpec) -> Object:
    context = dict(spec.pod_security_context)
    if spec.network.port_range is not None:
        first, last = spec.network.port_range
        context["sysctls"] = [*context.get("sysctls", ()), {"name": _PORT_RANGE, "value": f"{first} {last}"}]
    return context


def _security_context(spec: DeploymentSpec) -> Object:
    context = dict(spec.security_context)
    if spec.network.rdma is not None and spec.network.rdma.ipc_lock:
        capabilities = dict(context.get("capabilities") or {})
        added = list(capabilities.get("add") or ())
        capabilities["add"] = [*added, *(["IPC_LOCK"] if "IPC_LOCK" not in added else [])]
        context["capabilities"] = capabilities
    return context


def _startup_probe(spec: DeploymentSpec) -> Object:
    failures = -(-startup_seconds(spec) // _PROBE_PERIOD)
    if failures == names.DEFAULT_STARTUP_SECONDS // _PROBE_PERIOD:
        return {}
    return {"failureThreshold": failures}


def _token_mounts(spec: DeploymentSpec) -> list[Object]:
    if spec.token is None:
        return []
    return [{"name": names.TOKEN_VOLUME, "mountPath": names.TOKEN_FOLDER, "readOnly": True}]


def _certificate_mounts(spec: DeploymentSpec) -> list[Object]:
    if not publish.reencrypts(spec):
        return []
    return [{"name": names.CERTIFICATE_VOLUME, "mountPath": names.CERTIFICATE_FOLDER, "readOnly": True}]


def _api_key(spec: DeploymentSpec) -> list[Object]:
    """Only the head has the API."""
    if spec.api_key is None:
        return []
    reference = {"name": spec.api_key.name, "key": spec.api_key.key}
    return [{"name": env.API_KEY, "valueFrom": {"secretKeyRef": reference}}]
