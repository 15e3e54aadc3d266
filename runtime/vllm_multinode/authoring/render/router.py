"""The router before several groups: vllm-router, the vLLM project's own (github.com/vllm-project/router).

What its flags do was read in the source of 0.1.17 and seen with it. `power_of_two` takes two heads at random,
and sends the request to the one with fewer of this router's requests under way. (It also asks the heads for
`/get_load`, which vLLM does not have, and so counts by itself.) `cache_aware` has every head tokenise every
prompt before it chooses, which cost a fifth of the throughput, and prefers the first head among equals: of
three groups with few clients one got half of what another did. `round_robin` sees no load.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from vllm_multinode.authoring.render.container import security_context
from vllm_multinode.contract import labels, ports
from vllm_multinode.k8s.access import containers, listed, mapping

Object = dict[str, Any]

NAME: Final = "router"
"""Its container, and the value of the label COMPONENT on its pods."""
APPLICATION: Final = "app.kubernetes.io/name"
"""Label of its pods: what they run."""
INSTANCE: Final = "app.kubernetes.io/instance"
"""Label of its pods: whose heads they lead to."""
VLLM_ROUTER: Final = "vllm-router"
IMAGE: Final = "docker.io/vllm/vllm-router:v0.1.17"
METRICS: Final = 29000
"""Its port for Prometheus."""
PODS: Final = 2

# A request whose head rejects it, or goes away before the answer begins, is sent again. A head that has
# failed twice in a row gets no more until it answers again; that is asked every 2 s.
_FLAGS: Final = (
    "--policy=power_of_two",
    "--health-check-interval-secs=2",
    "--health-check-timeout-secs=2",
    "--health-failure-threshold=2",
    "--health-success-threshold=1",
    "--cb-failure-threshold=2",
    "--cb-success-threshold=1",
    "--cb-timeout-duration-secs=2",
    "--retry-max-retries=8",
    "--retry-initial-backoff-ms=50",
    "--retry-max-backoff-ms=1000",
    "--worker-startup-check-interval=2",
    "--request-timeout-secs=7200",
)
_URLS, _SELECTOR = _HEADS = ("--worker-urls", "--selector")
"""What says where the heads are."""
_FIRST_HEAD_SECONDS: Final = 86400
"""It waits so long for the first of the heads, and begins again; models may have to be fetched."""
_POD_SECONDS: Final = 60
"""What a pod that is ready may take to answer; meanwhile it sees no other."""
# What running answers get when one of its pods goes.
_GRACE_SECONDS: Final = 60
_PRE_STOP_SECONDS: Final = 5


def arguments(
    heads: Sequence[str], *, host: str = "0.0.0.0", port: int = ports.API, metrics: int = METRICS
) -> list[str]:
    """Of the command vllm-router.

    Args:
        heads: what says where heads are: see `to_heads` and `to_pods`.
        host: that it listens on.
        port: of its API.
        metrics: port for Prometheus.
    """
    listening = [f"--host={host}", f"--port={port}"]
    return [*listening, f"--prometheus-host={host}", f"--prometheus-port={metrics}", *_FLAGS, *heads]


def to_heads(urls: Sequence[str]) -> list[str]:
    """Heads by address."""
    return [f"--worker-startup-timeout-secs={_FIRST_HEAD_SECONDS}", _URLS, *urls]


def to_pods(selector: Sequence[str], namespace: str) -> list[str]:
    """Heads by their pods' labels, which it asks the Kubernetes API for.

    Args:
        selector: key=value, all of which a head has.
        namespace: of the pods.
    """
    return [
        f"--worker-startup-timeout-secs={_POD_SECONDS}",
        "--service-discovery",
        f"--service-discovery-namespace={namespace}",
        f"--service-discovery-port={ports.API}",
        _SELECTOR,
        *selector,
    ]


def identity(instance: str) -> dict[str, str]:
    """The labels that tell its pods from all others.

    They are not part of the group, whose policy and budget are for its own pods alone.

    Args:
        instance: whose heads it leads to.
    """
    return {INSTANCE: instance, labels.COMPONENT: NAME}


def deployment(
    metadata: Object,
    own: Mapping[str, str],
    heads: Sequence[str],
    *,
    image: str = IMAGE,
    user: int | None,
    pod: Object | None = None,
    env: Sequence[Object] = (),
) -> Object:
    """Two pods of it.

    Args:
        metadata: of the Deployment.
        own: labels that tell its pods from all others: see `identity`.
        heads: see `arguments`.
        image: that has the command vllm-router.
        user: that it runs as; None where the cluster chooses one, as OpenShift does.
        pod: further fields of the pods.
        env: variables of the container.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": PODS,
            "selector": {"matchLabels": dict(own)},
            # Without a group it is not ready, and has all the time that a group has to start.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}},
            "progressDeadlineSeconds": 2 * _FIRST_HEAD_SECONDS,
            "template": {
                "metadata": {
                    "labels": {
                        labels.MANAGED_BY: labels.MANAGER,
                        APPLICATION: VLLM_ROUTER,
                        **own,
                        labels.COMPONENT: NAME,
                    }
                },
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": _GRACE_SECONDS,
                    "topologySpreadConstraints": [
                        {
                            "maxSkew": 1,
                            "topologyKey": "kubernetes.io/hostname",
                            "whenUnsatisfiable": "ScheduleAnyway",
                            "labelSelector": {"matchLabels": dict(own)},
                        }
                    ],
                    **(pod or {}),
                    "containers": [_container(heads, image, user, env)],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                },
            },
        },
    }


def is_router(body: Mapping[str, Any]) -> bool:
    """Whether an object is the Deployment of a router."""
    own = mapping(body, "spec", "template", "metadata", "labels")
    return body.get("kind") == "Deployment" and own.get(labels.COMPONENT) == NAME


def container_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The router's own container; empty where there is none."""
    every = (container for _, container in containers(body, ("spec", "template", "spec", "containers")))
    return next((container for container in every if container.get("name") == NAME), {})


def heads_of(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Where a router's heads are, as its arguments say: their URLs, or the labels of their pods."""
    given = [str(one) for one in listed(container_of(body), "args")]
    for flag in _HEADS:
        if flag in given:
            return tuple(
                itertools.takewhile(lambda one: not one.startswith("--"), given[given.index(flag) + 1 :])
            )
    return ()


def disruption_budget(metadata: Object, own: Mapping[str, str]) -> Object:
    """One of its pods stays."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": dict(own)}},
    }


def network_policy(
    metadata: Object, own: Mapping[str, str], ingress: Sequence[Object], egress: Sequence[Object]
) -> Object:
    """Who reaches it, and whom it reaches."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "podSelector": {"matchLabels": dict(own)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": list(ingress),
            "egress": list(egress),
        },
    }


def _container(heads: Sequence[str], image: str, user: int | None, env: Sequence[Object]) -> Object:
    return {
        "name": NAME,
        "image": image,
        "command": [VLLM_ROUTER],
        "args": arguments(heads),
        **({"env": list(env)} if env else {}),
        "ports": [
            {"name": "http", "containerPort": ports.API, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS, "protocol": "TCP"},
        ],
        # Not /health, which fails as soon as one of the groups does. It listens once one group serves.
        "readinessProbe": {"httpGet": {"path": "/readiness", "port": ports.API}, "periodSeconds": 2},
        "livenessProbe": {"httpGet": {"path": "/metrics", "port": METRICS}, "periodSeconds": 10},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_PRE_STOP_SECONDS)]}}},
        "resources": {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": security_context(user),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - in the pod
    }
