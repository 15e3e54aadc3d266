"""What is written beside the service: claim, fetch Job, Service, NetworkPolicy, kustomization."""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from vllm_multinode.authoring.render import application, fetch, publish, router
from vllm_multinode.authoring.render.images import default_image
from vllm_multinode.authoring.render.pod import metadata, said, written_variables
from vllm_multinode.authoring.spec import Claim, DeploymentSpec
from vllm_multinode.contract import labels, ports
from vllm_multinode.k8s.quantity import parse

Object = dict[str, Any]

GIB = 1 << 30


def launcher(spec: DeploymentSpec) -> Object | None:
    """The ConfigMap with the launcher, unless the image has it."""
    if spec.install == "image" or not spec.writes_runtime:
        return None
    # Services share it, so no service's labels stand on it.
    where = {"namespace": spec.namespace} if spec.namespace else {}
    return application.config_map({**where, "labels": {labels.MANAGED_BY: labels.MANAGER}})


def claim(spec: DeploymentSpec) -> Object | None:
    """The PersistentVolumeClaim, where the spec asks for one."""
    wanted = spec.model.create_claim
    if wanted is None and spec.model.source is not None and spec.model.claim is None:
        wanted = Claim()
    if wanted is None or spec.claim is None:
        return None
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(spec, spec.claim),
        "spec": said(
            {
                "accessModes": list(wanted.access_modes),
                "storageClassName": wanted.storage_class_name,
                "resources": {"requests": {"storage": wanted.size or claim_size(spec)}},
            }
        ),
    }


def claim_size(spec: DeploymentSpec) -> str:
    """A tenth more than the weights; of an image its largest layer lies there too, which may be all of it."""
    weights = parse(str(spec.weights))
    twice = (spec.model.source or "").startswith("oci://")
    return f"{math.ceil((weights * 11 / 10 + (weights if twice else 0)) / GIB)}Gi"


def fetch_job(spec: DeploymentSpec, user: int | None) -> Object | None:
    """The Job that fills the claim, where the spec names a source.

    A Job cannot be changed, so another one has another name; over a model that is whole it ends at once.
    """
    source = spec.model.source
    if source is None or spec.claim is None:
        return None
    made = fetch.job(
        metadata(spec, ""),
        claim=spec.claim,
        arguments=fetch.arguments(source, spec.model.folder),
        access=fetch.access(source, spec.model.source_secret, written_variables(spec.model.source_env)),
        image=spec.image or default_image(spec.install, spec.accelerator.type, spec.executor),
        install=spec.install,
        user=user,
    )
    digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:6]
    return {**made, "metadata": {**made["metadata"], "name": f"{spec.name}-fetch-{digest}"}}


def service(spec: DeploymentSpec) -> Object:
    """One Service before the head, or before the router where there are several."""
    name = publish.service_name(spec)
    heads = {labels.PART_OF: spec.name, labels.COMPONENT: "head"}
    certificate = {publish.SERVING_CERTIFICATE: name} if publish.reencrypts(spec) else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**metadata(spec, name), **({"annotations": certificate} if certificate else {})},
        "spec": {
            "selector": router.identity(spec.name) if spec.has_router else heads,
            "ports": [{"name": "http", "port": publish.CLIENT_PORT, "targetPort": ports.API}],
        },
    }


_DNS = [{"port": port, "protocol": protocol} for port in (53, 5353) for protocol in ("UDP", "TCP")]
# Of the Service before the Kubernetes API, and of the API server itself, which is what most networks look at.
_KUBERNETES_API = [{"port": port, "protocol": "TCP"} for port in (443, 6443)]


_MONITORING = [
    # OpenShift labels its namespaces for this; "monitoring" is where kube-prometheus runs.
    {"namespaceSelector": {"matchLabels": {"network.openshift.io/policy-group": "monitoring"}}},
    {
        "namespaceSelector": {
            "matchExpressions": [
                {
                    "key": "kubernetes.io/metadata.name",
                    "operator": "In",
                    "values": ["openshift-user-workload-monitoring", "monitoring"],
                }
            ]
        }
    },
]


# The API server's proxy, through which `multinode wait` asks: OpenShift gives what comes from its nodes' own
# network a namespace, elsewhere it has addresses alone (network.statusFrom).
_API_SERVER = {"namespaceSelector": {"matchLabels": {"policy-group.network.openshift.io/host-network": ""}}}


def disruption_budget(spec: DeploymentSpec) -> Object:
    """One node is drained at a time: while a group recovers none of its pods is ready, so no other goes."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(spec, spec.name),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {labels.PART_OF: spec.name}}},
    }


def network_policy(spec: DeploymentSpec, proxy_port: int | None = None) -> Object:
    """Clients reach the API; every other port is open to the group alone, and its pods reach little else.

    A worker is led by its head's name. Where its pods may go to the group alone, a name that leads elsewhere
    leads nowhere. Names are resolved (OpenShift's resolver listens on 5353). The model is on a claim or in an
    image, which the node mounts, so the pods themselves download nothing. Only a proxy before the head asks
    the Kubernetes API, about callers' tokens.

    Args:
        spec: what is meant.
        proxy_port: of the proxy that the release puts before a head, which checks who calls.
    """
    clients = [{"port": port, "protocol": "TCP"} for port in (ports.API, proxy_port) if port is not None]
    group = {"matchLabels": {labels.PART_OF: spec.name}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(spec, spec.name),
        "spec": {
            "podSelector": group,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                _from_clients(spec, clients, [{"podSelector": {"matchLabels": router.identity(spec.name)}}]),
                {"from": [{"podSelector": group}]},
                {
                    "from": [*_MONITORING, _API_SERVER, *spec.network.status_from],
                    "ports": [{"port": ports.SUPERVISOR, "protocol": "TCP"}],
                },
            ],
            "egress": [
                {"to": [{"podSelector": group}]},
                {"ports": _DNS},
                *([{"ports": _KUBERNETES_API}] if proxy_port is not None else []),
                *([{"to": list(spec.network.egress_to)}] if spec.network.egress_to else []),
            ],
        },
    }


def _from_clients(spec: DeploymentSpec, to: Sequence[Object], before: Sequence[Object] = ()) -> Object:
    """A rule for those whom the user names, or for everybody.

    Args:
        spec: what is meant.
        to: the ports.
        before: who stands between clients and these pods, where there is a router.
    """
    named = list(spec.network.clients_from)
    return {**({"from": [*named, *(before if spec.has_router else ())]} if named else {}), "ports": list(to)}


def router_policy(spec: DeploymentSpec, meta: Object) -> Object:
    """Clients reach the router, and it reaches the heads."""
    heads = {"matchLabels": {labels.PART_OF: spec.name, labels.COMPONENT: "head"}}
    return router.network_policy(
        meta,
        router.identity(spec.name),
        ingress=[
            _from_clients(spec, [{"port": ports.API, "protocol": "TCP"}]),
            {"from": _MONITORING, "ports": [{"port": router.METRICS, "protocol": "TCP"}]},
        ],
        egress=[
            {"to": [{"podSelector": heads}], "ports": [{"port": ports.API, "protocol": "TCP"}]},
            {"ports": _DNS},
        ],
    )


def kustomization(files: Iterable[str]) -> Object:
    """What `kubectl apply -k` takes."""
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(files),
    }
