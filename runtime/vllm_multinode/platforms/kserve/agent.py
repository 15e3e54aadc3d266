"""The model agent, which KServe puts beside a server that has no storageUri (a multi-model server to it).

Source: pkg/webhook/admission/pod/agent_injector.go.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.contract.kserve import MODEL_MOUNT
from vllm_multinode.platforms import names
from vllm_multinode.platforms.simulation import Body

_CONFIG_PATH: Final = "/mnt/configs"
_PORT: Final = 9081
_NUMBERS: Final = (
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
)
_PROBE_DEFAULTS: Final = {
    "timeoutSeconds": 1,
    "periodSeconds": 10,
    "successThreshold": 1,
    "failureThreshold": 3,
}


def annotations(service: str) -> dict[str, str]:
    """Annotations of a service that KServe takes for a multi-model server."""
    return {
        names.AGENT: "true",
        names.AGENT_CONFIG_PATH: _CONFIG_PATH,
        names.AGENT_CONFIG_VOLUME: config_name(service),
        names.AGENT_MODEL_DIR: MODEL_MOUNT,
    }


def config_name(service: str) -> str:
    """The ConfigMap that lists the models of such a service."""
    return f"modelconfig-{service}-0"


def with_puller(pod: Body, found: Mapping[str, str]) -> Body:
    """The pod with the agent that pulls models, and the two volumes that it shares with the server."""
    main: Body = next((one for one in pod["containers"] if one["name"] == names.HEAD_CONTAINER), {})
    ports = main.get("ports") or []
    port = str(ports[0]["containerPort"]) if ports else "8080"
    models = {"name": "model-dir", "mountPath": MODEL_MOUNT}
    agent = {
        "name": "agent",
        "image": "kserve/agent:latest",
        "args": [
            *("--enable-puller", "--config-dir", found[names.AGENT_CONFIG_PATH]),
            *("--model-dir", found[names.AGENT_MODEL_DIR], "--component-port", port),
        ],
        "ports": [{"name": "agent-port", "containerPort": _PORT, "protocol": "TCP"}],
        "env": [{"name": "SERVING_READINESS_PROBE", "value": _probe_text(main.get("readinessProbe") or {})}],
        "resources": {
            "limits": {"cpu": "1", "memory": "1Gi"},
            "requests": {"cpu": "100m", "memory": "100Mi"},
        },
        "volumeMounts": [models, {"name": "model-config", "mountPath": _CONFIG_PATH}],
        "readinessProbe": {
            "httpGet": {
                "path": "/",
                "port": _PORT,
                "httpHeaders": [{"name": "K-Network-Probe", "value": "queue"}],
            }
        },
    }
    if "securityContext" in main:
        agent["securityContext"] = main["securityContext"]
    made = [_with_mount(one, models) for one in pod["containers"]]
    config = {"name": "model-config", "configMap": {"name": found[names.AGENT_CONFIG_VOLUME]}}
    volumes = [*(pod.get("volumes") or []), {"name": "model-dir", "emptyDir": {}}, config]
    return {**pod, "volumes": volumes, "containers": [*made, agent]}


def _with_mount(container: Body, mount: Body) -> Body:
    if container["name"] != names.HEAD_CONTAINER:
        return container
    return {**container, "volumeMounts": [*(container.get("volumeMounts") or []), mount]}


def _probe_text(probe: Mapping[str, Any]) -> str:
    """The probe as Go writes it, after the API server's defaults."""
    made: dict[str, Any] = {}
    for handler in ("exec", "httpGet", "tcpSocket", "grpc"):
        if handler in probe:
            made[handler] = dict(probe[handler])
    if "httpGet" in made:
        given = made["httpGet"]
        ordered = {key: given[key] for key in ("path", "port", "host") if key in given}
        made["httpGet"] = {**ordered, "scheme": given.get("scheme", "HTTP")}
        if "httpHeaders" in given:
            made["httpGet"]["httpHeaders"] = given["httpHeaders"]
    for number in _NUMBERS:
        value = probe.get(number, _PROBE_DEFAULTS.get(number))
        if value:
            made[number] = value
    return json.dumps(made, separators=(",", ":"))
