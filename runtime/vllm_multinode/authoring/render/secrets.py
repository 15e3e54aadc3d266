"""Secrets that no file may hold: written empty, and filled once in the cluster by a Job.

kustomize has nothing that makes a random value, and a Template's generator makes another one every time it
is processed. So the files name a Secret without data, and a Job writes what is absent. Neither a second apply
nor another Job changes it: what the files do not name, an apply leaves alone.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vllm_multinode.authoring.render.container import security_context
from vllm_multinode.authoring.render.images import default_image
from vllm_multinode.authoring.render.pod import metadata
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.authoring.spec.parts import SecretKey
from vllm_multinode.contract import labels

Object = dict[str, Any]

ROLE: Final = "secret-filler"
"""Value of the component label of all that fills Secrets; `multinode deploy` fills them itself."""
_ATTEMPTS: Final = 6
_LONGEST_SECONDS: Final = 3600
# A finished Job cannot be changed: gone, it is made again by the next apply, and changes nothing.
_KEPT_SECONDS: Final = 300


def generated(spec: DeploymentSpec) -> list[SecretKey]:
    """The Secrets that nobody else makes: those whose name the spec leaves open."""
    wanted = []
    if spec.token is not None and spec.token_secret is None:
        wanted.append(spec.token)
    if spec.api_key is not None and spec.api_key_secret is None:
        wanted.append(spec.api_key)
    return wanted


def objects(spec: DeploymentSpec, user: int | None) -> list[Object]:
    """The generated Secrets of a deployment, and what fills them; nothing where there are none.

    Args:
        spec: what is meant.
        user: that the Job runs as; None where the cluster chooses one, as OpenShift does.
    """
    wanted = generated(spec)
    if not wanted:
        return []
    name = f"{spec.name}-secrets"
    meta = metadata(spec, name)
    image = spec.image or default_image(spec.install, spec.accelerator.type, spec.executor)
    secrets = [empty(metadata(spec, one.name)) for one in wanted]
    job = filler_job(meta, wanted, image, user)
    # A Job cannot be changed, so another one has another name.
    digest = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:6]
    job["metadata"] = {**job["metadata"], "name": f"{name}-{digest}"}
    return [*secrets, *access(meta, [one.name for one in wanted]), job]


def empty(meta: Mapping[str, Any]) -> Object:
    """A Secret without data."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": dict(meta), "type": "Opaque"}


def access(meta: Mapping[str, Any], names: Sequence[str]) -> list[Object]:
    """Account, role and binding of the Job: these Secrets and no other object.

    Args:
        meta: of all three.
        names: of the Secrets.
    """
    name = meta["name"]
    own = _own(meta)
    rule = {
        "apiGroups": [""],
        "resources": ["secrets"],
        "resourceNames": list(names),
        "verbs": ["get", "patch"],
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": own},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": own,
            "rules": [rule],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": own,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name}],
        },
    ]


def filler_job(meta: Mapping[str, Any], keys: Sequence[SecretKey], image: str, user: int | None) -> Object:
    """The Job that fills them, with the Python of any image.

    Args:
        meta: of the Job; its name is the account's as well.
        keys: Secrets and the key of each.
        image: any with Python.
        user: that it runs as; None where the cluster chooses one.
    """
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _own(meta),
        "spec": {
            "backoffLimit": _ATTEMPTS,
            "activeDeadlineSeconds": _LONGEST_SECONDS,
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": {
                # Not part of the service: its policy and its budget are for the group alone.
                "metadata": {"labels": {labels.MANAGED_BY: labels.MANAGER, labels.COMPONENT: ROLE}},
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": meta["name"],
                    "automountServiceAccountToken": True,
                    "enableServiceLinks": False,
                    "containers": [
                        {
                            "name": ROLE,
                            "image": image,
                            "command": ["python3", "-c", source()],
                            "args": [part for one in keys for part in (one.name, one.key)],
                            "resources": {
                                "requests": {"cpu": "100m", "memory": "64Mi"},
                                "limits": {"memory": "256Mi"},
                            },
                            "securityContext": security_context(user),
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                        }
                    ],
                },
            },
        },
    }


def source() -> str:
    """The program of the Job."""
    text = Path(__file__).with_name("fill_secret.py").read_text(encoding="utf-8")
    return "\n".join(line.partition("  # noqa")[0] for line in text.splitlines()) + "\n"


def _own(meta: Mapping[str, Any]) -> Object:
    return {**meta, "labels": {**meta.get("labels", {}), labels.COMPONENT: ROLE}}
