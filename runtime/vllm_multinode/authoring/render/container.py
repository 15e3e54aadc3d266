"""The container of either role, as it is in every deployment; what one deployment changes is `pod`'s."""

from typing import Any, Final

from vllm_multinode.authoring.render import application, names
from vllm_multinode.authoring.spec.parts import Install
from vllm_multinode.contract import env, ports
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.contract.kserve import Role

Object = dict[str, Any]

# Compiled kernels and Ray's logs take a few GB; more than this is a fault that should not fill the node.
_SCRATCH: Final = "32Gi"


def container(
    role: Role,
    executor: ExecutorName,
    *,
    name: str,
    image: str,
    generation_label: str,
    install: Install,
    user: int | None,
) -> Object:
    """One container with the launcher in it, complete but for the accelerators.

    Args:
        role: head or worker.
        executor: what spreads the engine.
        name: of the container; KServe expects its own names.
        image: of the launcher and vLLM.
        generation_label: label of the pod that tells one generation from the next.
        install: how the launcher comes into it.
        user: that it runs as; None where the cluster chooses one, as OpenShift does.
    """
    return {
        "name": name,
        "image": image,
        "command": launcher_command(install),
        "args": [role],
        "env": _environment(executor, generation_label),
        **(
            {"ports": [{"name": "http", "containerPort": ports.API, "protocol": "TCP"}]}
            if role == "head"
            else {}
        ),
        "securityContext": security_context(user),
        "startupProbe": _probe("/startup", period=10, failures=names.DEFAULT_STARTUP_SECONDS // 10),
        "readinessProbe": _probe("/ready", period=5),
        "livenessProbe": _probe("/live", period=10),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(names.PRE_STOP_SECONDS)]}}},
        "volumeMounts": [
            {"name": names.SHARED_MEMORY, "mountPath": "/dev/shm"},  # noqa: S108 - in the pod
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "home", "mountPath": names.HOME},
            *launcher_mounts(install),
        ],
    }


def volumes(shared_memory: str, install: Install) -> list[Object]:
    """Every path that is written to: the root filesystem is read-only.

    Args:
        shared_memory: size of /dev/shm.
        install: how the launcher comes into the pod.
    """
    return [
        shared_memory_volume(shared_memory),
        {"name": "tmp", "emptyDir": {"sizeLimit": _SCRATCH}},
        {"name": "home", "emptyDir": {"sizeLimit": _SCRATCH}},
        *launcher_volumes(install),
    ]


def launcher_command(install: Install) -> list[str]:
    """What starts the launcher; without a shell, with the Python that PATH of the image leads to."""
    if install == "image":
        return ["multinode"]
    return ["python3", f"{names.LAUNCHER_FOLDER}/{application.FILE}"]


def launcher_mounts(install: Install) -> list[Object]:
    """Where the container sees the launcher, if its image has none."""
    if install == "image":
        return []
    return [{"name": names.LAUNCHER, "mountPath": names.LAUNCHER_FOLDER, "readOnly": True}]


def launcher_volumes(install: Install) -> list[Object]:
    """The pod's volume with the launcher, if its image has none."""
    if install == "image":
        return []
    return [{"name": names.LAUNCHER, "configMap": {"name": application.config_map_name()}}]


def shared_memory_volume(size: str) -> Object:
    """The volume at /dev/shm."""
    return {"name": names.SHARED_MEMORY, "emptyDir": {"medium": "Memory", "sizeLimit": size}}


def _environment(executor: ExecutorName, generation_label: str) -> list[Object]:
    return [
        _from_field(env.POD_IP, "status.podIP"),
        _from_field(env.POD_NAME, "metadata.name"),
        _from_field(env.POD_NAMESPACE, "metadata.namespace"),
        _from_field(env.GENERATION, f"metadata.labels['{generation_label}']"),
        {"name": env.EXECUTOR, "value": executor},
        {"name": "HOME", "value": names.HOME},
    ]


def _from_field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def security_context(user: int | None) -> Object:
    """What OpenShift's restricted-v2 and the restricted Pod Security Standard ask for.

    Args:
        user: any but root; needed where nothing else chooses one, since vLLM's images name none.
    """
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        **({"runAsUser": user, "runAsGroup": 0} if user is not None else {}),
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _probe(path: str, *, period: int, failures: int | None = None) -> Object:
    probe: Object = {"httpGet": {"path": path, "port": ports.SUPERVISOR}, "periodSeconds": period}
    return probe if failures is None else {**probe, "failureThreshold": failures}
