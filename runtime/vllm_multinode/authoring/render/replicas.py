"""What stands before several groups: the router, and one Service for each head, which keeps its name."""

from typing import Any, Final, Literal

from vllm_multinode.authoring.render import companions, publish, router
from vllm_multinode.authoring.render.lws import GROUP_INDEX, WORKER_INDEX
from vllm_multinode.authoring.render.lws import NAME as LWS_NAME
from vllm_multinode.authoring.render.pod import metadata, said
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.contract import labels, ports
from vllm_multinode.platforms import names as kserve

Object = dict[str, Any]
Target = Literal["kserve", "lws"]

_LEADER: Final = "0"


def objects(spec: DeploymentSpec, target: Target, user: int | None) -> list[Object]:
    """The router with its guards, and a Service for each head.

    The router knows the heads by these Services' names: it needs no account with the Kubernetes API, a head
    that is not ready rejects connections at once, and one that comes back has its old name.

    Args:
        spec: what is meant, with more than one replica.
        target: who makes the groups.
        user: that the router runs as; None where the cluster chooses one.
    """
    meta = metadata(spec, name(spec))
    image = spec.router.image if spec.router else None
    urls = [f"http://{one}" for one in head_services(spec)]
    own = router.identity(spec.name)
    made = [
        router.deployment(
            meta,
            own,
            router.to_heads(urls),
            image=image or router.IMAGE,
            user=user,
            pod=said({"imagePullSecrets": [{"name": one} for one in spec.image_pull_secrets]}),
        ),
        router.disruption_budget(meta, own),
        *(_head_service(spec, target, index) for index in range(spec.replicas)),
    ]
    if spec.network.policy:
        made.append(companions.router_policy(spec, meta))
    return made


def name(spec: DeploymentSpec) -> str:
    """Of the router."""
    return f"{spec.name}-{router.NAME}"


def head_services(spec: DeploymentSpec) -> list[str]:
    """Names of the heads' Services, one a replica."""
    return [f"{spec.name}-{index}-api" for index in range(spec.replicas)]


def _head_service(spec: DeploymentSpec, target: Target, index: int) -> Object:
    of_group = (
        {LWS_NAME: spec.name, GROUP_INDEX: str(index), WORKER_INDEX: _LEADER}
        if target == "lws"
        else {kserve.SERVICE_LABEL: spec.service_names[index], labels.COMPONENT: "head"}
    )
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(spec, head_services(spec)[index]),
        "spec": {
            "selector": of_group,
            "ports": [{"name": "http", "port": publish.CLIENT_PORT, "targetPort": ports.API}],
        },
    }
