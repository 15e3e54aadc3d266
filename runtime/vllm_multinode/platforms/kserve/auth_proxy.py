"""The proxy that OpenShift AI puts before a head, and the certificate that it serves with.

Source: red-hat-data-services/kserve, reconcilers/{deployment,service} of its InferenceService controller.
"""

from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.platforms import names
from vllm_multinode.platforms.releases import Release
from vllm_multinode.platforms.simulation import Body

PORT: Final = 8443
_PROBE_PORT: Final = 8643
_AGENT_PORT: Final = "9081"
_DEFAULT_PORT: Final = "8080"
_TLS: Final = {"name": "proxy-tls", "mountPath": "/etc/tls/private"}
_ACCESS: Final = "kube-rbac-proxy-sar-config"
# The cluster's ConfigMap names the image, by its digest.
_IMAGE: Final = "example.com/auth-proxy:1"
_RESOURCES: Final = {
    "limits": {"cpu": "200m", "memory": "128Mi"},
    "requests": {"cpu": "100m", "memory": "64Mi"},
}


def is_asked_for(release: Release, metadata: Mapping[str, Any]) -> bool:
    """Whether the head's own metadata switches authentication on."""
    if not release.auth_switch:
        return False
    marks = metadata.get("labels" if release.auth_switch == "label" else "annotations") or {}
    return str(marks.get(names.ENABLE_AUTH, "")).lower() == "true"


def kind(release: Release, metadata: Mapping[str, Any]) -> str:
    """The proxy's container in a new head; empty where there is none."""
    if not (release.adds_auth_proxy == "always" or is_asked_for(release, metadata)):
        return ""
    wanted = (metadata.get("annotations") or {}).get(names.AUTH_PROXY_TYPE)
    if release.knows_auth_proxy_type and wanted == names.RBAC_PROXY:
        return names.RBAC_PROXY
    return release.auth_proxy


def with_certificate(release: Release, metadata: Body, *, worker: bool = False) -> Body:
    """Metadata of a role's objects, with the annotation that makes OpenShift issue a certificate."""
    asked = is_asked_for(release, metadata)
    wanted = {"": False, "with-auth": asked, "head": True, "all": True}[release.serving_certificate]
    if not wanted or (worker and release.serving_certificate != "all"):
        return metadata
    annotations = {**(metadata.get("annotations") or {}), names.SERVING_CERTIFICATE: secret(metadata["name"])}
    return {**metadata, "annotations": dict(sorted(annotations.items()))}


def secret(name: str) -> str:
    """The Secret that holds the certificate of an object's Service."""
    return f"{name}-serving-cert"


def with_proxy(
    release: Release, metadata: Body, predictor: Mapping[str, Any], service: Body, pod: Body
) -> Body:
    """The head's pod with its proxy, if it gets one.

    Args:
        release: of OpenShift AI.
        metadata: of the head's Deployment.
        predictor: spec.predictor.
        service: the InferenceService.
        pod: the head's pod spec.
    """
    proxy = kind(release, metadata)
    if not proxy:
        return pod
    name, namespace = service["metadata"]["name"], service["metadata"].get("namespace", "")
    volumes: list[Body] = [{"name": _TLS["name"], "secret": {"secretName": secret(metadata["name"])}}]
    mounts: list[Body] = [dict(_TLS)]
    if proxy == names.RBAC_PROXY:
        volume = access_config_name(name) if release.names_access_volume_by_service else _ACCESS
        volumes.append({"name": volume, "configMap": {"name": access_config_name(name)}})
        mounts.append({"name": volume, "mountPath": "/etc/kube-rbac-proxy", "readOnly": True})
        args = _rbac_arguments(_upstream(pod, predictor), predictor)
    else:
        account = pod.get("serviceAccountName") or "default"
        args = _oauth_arguments(_upstream(pod, predictor), account, name, namespace)
    return {
        **pod,
        "automountServiceAccountToken": True,
        "volumes": [*(pod.get("volumes") or []), *volumes],
        "containers": [*map(_with_certificate_mount, pod["containers"]), _container(proxy, args, mounts)],
    }


def access_config_name(service: str) -> str:
    """The ConfigMap that says who may call a service."""
    return f"{service}-{_ACCESS}"


def access_config(service: Body, metadata: Body) -> Body:
    """That ConfigMap: whoever may get the InferenceService may call it."""
    name, namespace = service["metadata"]["name"], service["metadata"].get("namespace", "")
    fields = (
        ("namespace", namespace),
        ("apiGroup", "serving.kserve.io"),
        ("apiVersion", "v1beta1"),
        ("resource", "inferenceservices"),
        ("name", name),
        ("verb", "get"),
    )
    lines = [f'    {key}: "{value}"' for key, value in fields]
    text = "\n".join(("authorization:", "  resourceAttributes:", *lines))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "immutable": True,
        "data": {"config-file.yaml": text},
    }


def with_port(release: Release, metadata: Mapping[str, Any], ports: list[Body]) -> list[Body]:
    """The client Service's ports: where authentication is on, the proxy's instead of port 80."""
    if not is_asked_for(release, metadata):
        return ports
    https = {"name": "https", "protocol": "TCP", "port": PORT, "targetPort": "https"}
    replaced = [https if port["port"] == 80 else port for port in ports]
    return replaced if https in replaced else [*replaced, https]


def _with_certificate_mount(container: Body) -> Body:
    if container["name"] != names.HEAD_CONTAINER:
        return container
    return {**container, "volumeMounts": [*(container.get("volumeMounts") or []), dict(_TLS)]}


def _upstream(pod: Body, predictor: Mapping[str, Any]) -> str:
    """The port behind the proxy: the agent's, the transformer's first or the head's first."""
    if predictor.get("batcher") is not None or predictor.get("logger") is not None:
        return _AGENT_PORT
    found = {one["name"]: one.get("ports") or [] for one in pod["containers"]}
    ports = found.get(names.TRANSFORMER_CONTAINER) or found.get(names.HEAD_CONTAINER)
    return str(ports[0]["containerPort"]) if ports else _DEFAULT_PORT


def _rbac_arguments(upstream: str, predictor: Mapping[str, Any]) -> list[str]:
    timeout = predictor.get("timeout")
    return [
        f"--secure-listen-address=:{PORT}",
        f"--proxy-endpoints-port={_PROBE_PORT}",
        f"--upstream=http://localhost:{upstream}",
        "--auth-header-fields-enabled=true",
        "--tls-cert-file=/etc/tls/private/tls.crt",
        "--tls-private-key-file=/etc/tls/private/tls.key",
        "--config-file=/etc/kube-rbac-proxy/config-file.yaml",
        "--v=4",
        *([f"--upstream-timeout={timeout}s"] if timeout is not None else []),
    ]


def _oauth_arguments(upstream: str, account: str, name: str, namespace: str) -> list[str]:
    access = (
        f'{{"namespace": "{namespace}", "resource": "inferenceservices", "group": "serving.kserve.io", '
        f'"name": "{name}", "verb": "get"}}'
    )
    return [
        f"--https-address=:{PORT}",
        "--provider=openshift",
        "--skip-provider-button",
        f"--openshift-service-account={account}",
        f"--upstream=http://localhost:{upstream}",
        "--tls-cert=/etc/tls/private/tls.crt",
        "--tls-key=/etc/tls/private/tls.key",
        "--cookie-secret=(random)",
        f'--openshift-delegate-urls={{"/": {access}}}',
        f"--openshift-sar={access}",
    ]


def _container(name: str, args: list[str], mounts: list[Body]) -> Body:
    is_rbac = name == names.RBAC_PROXY
    ports = [{"name": "https", "containerPort": PORT, "protocol": "TCP"}]
    if is_rbac:
        ports.append({"name": "proxy", "containerPort": _PROBE_PORT, "protocol": "TCP"})
    probe = {
        "httpGet": {
            "path": "/healthz" if is_rbac else "/oauth/healthz",
            "port": _PROBE_PORT if is_rbac else PORT,
            "scheme": "HTTPS",
        },
        "timeoutSeconds": 1,
        "periodSeconds": 5,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    return {
        "name": name,
        "image": _IMAGE,
        "args": args,
        "ports": ports,
        "resources": _RESOURCES,
        "volumeMounts": mounts,
        "livenessProbe": {**probe, "initialDelaySeconds": 30},
        "readinessProbe": {**probe, "initialDelaySeconds": 5},
    }
