"""The way in from outside the cluster: Route, Gateway or Ingress, with TLS and time for long answers."""

from typing import Any, Final

from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.contract import labels

Object = dict[str, Any]

CLIENT_PORT: Final = 80
API_PATH: Final = "/v1"
"""What is published: vLLM asks for its API key there, and not at /invocations, /pooling or /score."""
_GATEWAY_CLASS: Final = "openshift-default"
_LONGEST: Final = "30m"
_LONGEST_SECONDS: Final = "1800"
SERVING_CERTIFICATE: Final = "service.beta.openshift.io/serving-cert-secret-name"
# Of the ingress controllers that read them: answers are long, streamed, and follow long prompts.
_INGRESS_ANNOTATIONS: Final = {
    "nginx.ingress.kubernetes.io/proxy-read-timeout": _LONGEST_SECONDS,
    "nginx.ingress.kubernetes.io/proxy-send-timeout": _LONGEST_SECONDS,
    "nginx.ingress.kubernetes.io/proxy-buffering": "off",
    "nginx.ingress.kubernetes.io/proxy-body-size": "64m",
    "nginx.ingress.kubernetes.io/ssl-redirect": "true",
    "haproxy.router.openshift.io/timeout": _LONGEST,
}


def service_name(spec: DeploymentSpec) -> str:
    """Neither KServe's `<name>-predictor` nor LeaderWorkerSet's `<name>`, so that nobody fights over it."""
    return f"{spec.name}-api"


def reencrypts(spec: DeploymentSpec) -> bool:
    """Whether vLLM itself speaks TLS, with a certificate of OpenShift's."""
    return spec.publish is not None and spec.publish.via == "route" and spec.publish.reencrypt


def objects(spec: DeploymentSpec) -> list[Object]:
    """What publishes the Service; nothing where the service is for the cluster alone."""
    if spec.publish is None:
        return []
    return {"route": _route, "gateway": _gateway, "ingress": _ingress}[spec.publish.via](spec)


def _metadata(spec: DeploymentSpec, annotations: dict[str, str]) -> Object:
    assert spec.publish is not None  # noqa: S101 - objects asks
    where = {"namespace": spec.namespace} if spec.namespace else {}
    said = {**annotations, **spec.publish.annotations}
    own = {labels.MANAGED_BY: labels.MANAGER, labels.PART_OF: spec.name, **spec.labels}
    return {"name": spec.name, **where, "labels": own, **({"annotations": said} if said else {})}


def _tls_secret(spec: DeploymentSpec) -> str:
    return (spec.publish and spec.publish.tls_secret) or f"{spec.name}-tls"


def _host(spec: DeploymentSpec) -> str | None:
    return spec.publish.host if spec.publish is not None else None


def _route(spec: DeploymentSpec) -> list[Object]:
    host = _host(spec)
    return [
        {
            "apiVersion": "route.openshift.io/v1",
            "kind": "Route",
            # The router's own limit is 30 s between two packets.
            "metadata": _metadata(spec, {"haproxy.router.openshift.io/timeout": _LONGEST}),
            "spec": {
                **({"host": host} if host else {}),
                "path": API_PATH,
                "to": {"kind": "Service", "name": service_name(spec), "weight": 100},
                "port": {"targetPort": "http"},
                "tls": {
                    "termination": "reencrypt" if reencrypts(spec) else "edge",
                    "insecureEdgeTerminationPolicy": "Redirect",
                },
                "wildcardPolicy": "None",
            },
        }
    ]


def _gateway(spec: DeploymentSpec) -> list[Object]:
    host, publish = _host(spec), spec.publish
    listener = {
        "name": "https",
        "port": 443,
        "protocol": "HTTPS",
        **({"hostname": host} if host else {}),
        "tls": {"mode": "Terminate", "certificateRefs": [{"name": _tls_secret(spec)}]},
        "allowedRoutes": {"namespaces": {"from": "Same"}},
    }
    route = {
        "parentRefs": [{"name": spec.name}],
        **({"hostnames": [host]} if host else {}),
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": API_PATH}}],
                "timeouts": {"request": _LONGEST, "backendRequest": _LONGEST},
                "backendRefs": [{"name": service_name(spec), "port": CLIENT_PORT}],
            }
        ],
    }
    meta = _metadata(spec, {})
    return [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": meta,
            "spec": {
                "gatewayClassName": (publish and publish.class_name) or _GATEWAY_CLASS,
                "listeners": [listener],
            },
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {key: value for key, value in meta.items() if key != "annotations"},
            "spec": route,
        },
    ]


def _ingress(spec: DeploymentSpec) -> list[Object]:
    host, publish = _host(spec), spec.publish
    backend = {"service": {"name": service_name(spec), "port": {"number": CLIENT_PORT}}}
    path = {"path": API_PATH, "pathType": "Prefix", "backend": backend}
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": _metadata(spec, dict(_INGRESS_ANNOTATIONS)),
            "spec": {
                **({"ingressClassName": publish.class_name} if publish and publish.class_name else {}),
                "tls": [{**({"hosts": [host]} if host else {}), "secretName": _tls_secret(spec)}],
                "rules": [{**({"host": host} if host else {}), "http": {"paths": [path]}}],
            },
        }
    ]
