"""The Job that fills a claim: `multinode fetch` in the same image, with the same launcher, as the service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from vllm_multinode.authoring.render.container import (
    launcher_command,
    launcher_mounts,
    launcher_volumes,
    security_context,
)
from vllm_multinode.authoring.spec.parts import Install
from vllm_multinode.contract import env, labels
from vllm_multinode.contract.exit_codes import ExitCode

Object = dict[str, Any]

NAME: Final = "fetch"
FOLDER: Final = "/models"
"""Where the Job sees the claim."""
SOURCE_FOLDER: Final = "/source"
"""Where it sees another claim that it copies from."""
TOKEN_KEY: Final = "token"  # noqa: S105 - its name
DOCKER_KEY: Final = ".dockerconfigjson"
_DOCKER_FOLDER: Final = "/run/secrets/registry"

_ATTEMPTS: Final = 10
LONGEST_SECONDS: Final = 2 * 24 * 3600
"""What a fetch may take, and a pod waits for it."""
# A finished Job cannot be changed: gone, it is made again by the next apply, and ends at once.
_KEPT_SECONDS: Final = 3600
_HOPELESS: Final = (
    ExitCode.USAGE,
    ExitCode.VARIABLE,
    ExitCode.MODEL_MISSING,
    ExitCode.MODEL_CONFIG,
    ExitCode.SHARD_TRUNCATED,
    ExitCode.SHARD_ABSENT,
    ExitCode.NOT_WRITABLE,
    ExitCode.IMAGE,
    ExitCode.SOURCE_DENIED,
    ExitCode.CLAIM_FULL,
)
"""What another attempt does not help."""


@dataclass(frozen=True)
class Access:
    """What a source asks for beyond its address.

    Attributes:
        env: variables of the container.
        env_from: Secrets whose keys are variables.
        mounts: of the container.
        volumes: of the pod.
    """

    env: Sequence[Object] = field(default=())
    env_from: Sequence[Object] = field(default=())
    mounts: Sequence[Object] = field(default=())
    volumes: Sequence[Object] = field(default=())


def arguments(source: str, folder: str) -> list[str]:
    """SOURCE and DIRECTORY of `multinode fetch` in the Job."""
    scheme, _, address = source.partition("://")
    if scheme == "file":
        _, _, inside = address.partition("/")
        source = f"file://{SOURCE_FOLDER}/{inside}"
    return [source, f"{FOLDER}/{folder}"]


def access(source: str, secret: str | None, variables: Sequence[Object] = ()) -> Access:
    """What a source asks for: a token, keys, a pull secret, or a claim to read from.

    Args:
        source: its address.
        secret: with what it asks for.
        variables: of the user's own, such as those of a mirror or a proxy.
    """
    found = _access(source, secret)
    return replace(found, env=[*found.env, *variables])


def _access(source: str, secret: str | None) -> Access:
    scheme, _, address = source.partition("://")
    if scheme == "file":
        claim = {"claimName": address.partition("/")[0], "readOnly": True}
        return Access(
            mounts=[{"name": "source", "mountPath": SOURCE_FOLDER, "readOnly": True}],
            volumes=[{"name": "source", "persistentVolumeClaim": claim}],
        )
    if secret is None:
        return Access()
    if scheme == "hf":
        reference = {"secretKeyRef": {"name": secret, "key": TOKEN_KEY}}
        return Access(env=[{"name": "HF_TOKEN", "valueFrom": reference}])
    if scheme == "s3":
        return Access(env_from=[{"secretRef": {"name": secret}}])
    items = [{"key": DOCKER_KEY, "path": "config.json"}]
    return Access(
        env=[{"name": "DOCKER_CONFIG", "value": _DOCKER_FOLDER}],
        mounts=[{"name": "registry", "mountPath": _DOCKER_FOLDER, "readOnly": True}],
        volumes=[{"name": "registry", "secret": {"secretName": secret, "items": items}}],
    )


def secret_command(source: str, secret: str) -> str:
    """What makes the Secret."""
    scheme = source.partition("://")[0]
    made = f"kubectl create secret generic {secret}"
    if scheme == "hf":
        return f"{made} --from-file={TOKEN_KEY}=FILE"
    if scheme == "s3":
        return f"{made} --from-env-file=FILE with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return f"{made} --type=kubernetes.io/dockerconfigjson --from-file={DOCKER_KEY}=FILE"


def job(
    metadata: Mapping[str, Any],
    *,
    claim: str,
    arguments: Sequence[str],
    access: Access,
    image: str,
    install: Install,
    user: int | None,
) -> Object:
    """The Job.

    Args:
        metadata: of the Job.
        claim: to fill.
        arguments: source and directory, of `multinode fetch`.
        access: what the source asks for.
        image: that the service runs.
        install: how the launcher comes into it.
        user: that it runs as; None where the cluster chooses one, as OpenShift does.
    """
    group = {"fsGroup": user} if user is not None else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": dict(metadata),
        "spec": {
            "backoffLimit": _ATTEMPTS,
            "activeDeadlineSeconds": LONGEST_SECONDS,
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "podFailurePolicy": _failure_policy(),
            "template": {
                # Not part of the service: its policy and its budget are for the group alone.
                "metadata": {"labels": {labels.MANAGED_BY: labels.MANAGER, labels.COMPONENT: NAME}},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 30,
                    # Without the policy the kubelet changes the group of every file at every mount.
                    "securityContext": {**group, "fsGroupChangePolicy": "OnRootMismatch"},
                    "containers": [_container(arguments, access, image, install, user)],
                    "volumes": [
                        {"name": "models", "persistentVolumeClaim": {"claimName": claim}},
                        {"name": "tmp", "emptyDir": {}},
                        *launcher_volumes(install),
                        *access.volumes,
                    ],
                },
            },
        },
    }


def _container(
    arguments: Sequence[str], access: Access, image: str, install: Install, user: int | None
) -> Object:
    return {
        "name": NAME,
        "image": image,
        "command": launcher_command(install),
        "args": [NAME, *arguments],
        "env": [
            {"name": env.POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            *access.env,
        ],
        **({"envFrom": list(access.env_from)} if access.env_from else {}),
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
        "securityContext": security_context(user),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "models", "mountPath": FOLDER},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the pod
            *launcher_mounts(install),
            *access.mounts,
        ],
    }


def _failure_policy() -> Object:
    return {
        "rules": [
            {
                "action": "FailJob",
                "onExitCodes": {
                    "containerName": NAME,
                    "operator": "In",
                    "values": sorted(int(code) for code in _HOPELESS),
                },
            },
            # kubectl's own check wants the status that the API server would fill in.
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]
    }
