"""Writes what of manifests/ is generated: the launcher's ConfigMap, the ServingRuntimes, and the Job that fetches."""

import base64
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from generators.repository import MANIFESTS, PACKAGE, Files
from vllm_multinode.authoring.render import application, router
from vllm_multinode.authoring.render.fetch import Access, job
from vllm_multinode.authoring.render.images import RELEASED
from vllm_multinode.authoring.render.names import USER
from vllm_multinode.authoring.render.publish import CLIENT_PORT
from vllm_multinode.authoring.render.runtime import DEFAULT_SHARED_MEMORY, serving_runtime
from vllm_multinode.authoring.render.secrets import access, empty, filler_job
from vllm_multinode.authoring.spec.parts import SecretKey
from vllm_multinode.contract import ports
from vllm_multinode.contract.labels import COMPONENT, MANAGED_BY, MANAGER, PART_OF
from vllm_multinode.k8s.emit import to_yaml

# Said once each, above the line that comes first.
COMMENTS = {
    "multinode/executor-backend: mp": "From KServe 0.18 on: as many nodes as PP, each with TP accelerators.",
    "- python3": "The launcher, in vLLM's released image: see ../launcher.",
    "- head": "An InferenceService's arguments are appended. They are vLLM's arguments.",
    "- name: MULTINODE_GENERATION": "During a rolling update, two generations form two separate groups.",
    "- name: MULTINODE_MODEL_SOURCE": "The claim and folder for the message about a missing model.",
    "- name: http": "KServe's Service opens every port listed here, so the supervisor's 8081 is not.",
    "securityContext:": "As Pod Security's restricted requires; the component openshift removes the UID, which OpenShift assigns.",
    "startupProbe:": "Answered from memory: no probe starts a process or queries the engine. One hour to load.",
    "preStop:": "Gives Services time to stop routing to the pod.",
    f"sizeLimit: {DEFAULT_SHARED_MEMORY}": "It counts towards the pod's memory as it fills.",
    "workerSpec:": "KServe drops most other pod fields here, so they are in the InferenceService.",
}

JOB_COMMENTS = {
    "backoffLimit: 10": "A new pod resumes where the last one stopped.",
    "ttlSecondsAfterFinished: 3600": "A finished Job cannot be changed. After its deletion the next apply creates it again, and it ends at once.",
    "- action: FailJob": "Errors that another attempt does not fix (docs/exit-codes.md).",
    "- action: Ignore": "Drained nodes do not count.",
    "- fetch": "SOURCE and DIRECTORY follow.",
    "resources:": "Written files are in the page cache, which counts as memory and is released when memory is short.",
}


def launcher() -> dict[Path, str]:
    """The ConfigMap with the zip application."""
    path = MANIFESTS / "runtime/launcher/configmap.yaml"
    written = {}
    # A file with the marks of a merge in it is written again.
    with contextlib.suppress(OSError, yaml.YAMLError):
        written = yaml.safe_load(path.read_text())
    made = application.config_map({"labels": {MANAGED_BY: MANAGER}})
    if written.get("metadata") == made["metadata"] and same_content(written, made):
        # Another zlib would write the same content as other bytes.
        return {path: path.read_text()}
    return {path: f"# Written by scripts/generate.\n{to_yaml([made])}"}


def same_content(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two ConfigMaps hold the same files."""
    held = [base64.b64decode(found["binaryData"][application.FILE]) for found in (one, other)]
    return application.members(held[0]) == application.members(held[1])


def runtimes() -> dict[Path, str]:
    """The ServingRuntimes: mp in a released image, Ray in one that scripts/build-image makes."""
    folder = MANIFESTS / "runtime"
    ray = serving_runtime("ray", install="image")
    whole = ray | {"kind": "ClusterServingRuntime"}
    return {
        folder / "ray/servingruntime.yaml": commented(ray),
        folder / "mp/servingruntime.yaml": commented(serving_runtime("mp")),
        folder / "cluster/clusterservingruntime.yaml": commented(whole),
    }


def fetching() -> dict[Path, str]:
    """The Job that fills a claim, without a source."""
    document = job(
        {"name": "fetch", "labels": {MANAGED_BY: MANAGER}},
        claim="models",
        arguments=(),
        access=Access(),
        # That of the service: one image to mirror, to pull and to replace.
        image=RELEASED["nvidia"],
        install="configMap",
        user=USER,
    )
    return {MANIFESTS / "storage/fetch/job.yaml": commented(document, JOB_COMMENTS)}


def secrets() -> dict[Path, str]:
    """The Secrets of a service, without a value, and the Job that fills them once."""
    own = {MANAGED_BY: MANAGER, PART_OF: "vllm"}
    keys = (SecretKey(name="vllm-token", key="token"), SecretKey(name="vllm-api-key", key="api-key"))
    meta = {"name": "vllm-secrets", "labels": own}
    made = [
        *(empty({"name": one.name, "labels": own}) for one in keys),
        *access(meta, [one.name for one in keys]),
        filler_job(meta, keys, RELEASED["nvidia"], USER),
    ]
    return {MANIFESTS / "service/base/secrets.yaml": f"# Written by scripts/generate.\n{to_yaml(made)}"}


ROUTER_COMMENTS = {
    "- --policy=power_of_two": "Of two random heads, the one with fewer requests in flight.",
    "- --selector": "Heads only: workers have no API.",
    "readinessProbe:": "Not /health, which fails as soon as one of the groups does.",
    "securityContext:": "Its image sets no user; with the component openshift, OpenShift sets it.",
}


def replicas() -> dict[Path, str]:
    """The router before the heads of a leaf, whichever they are: it asks for their pods."""
    name, part_of = router.VLLM_ROUTER, "vllm"
    own = {router.APPLICATION: name, PART_OF: part_of}
    heads = router.to_pods([f"{PART_OF}=$(PART_OF)", f"{COMPONENT}=head"], "$(POD_NAMESPACE)")
    from_field = {"POD_NAMESPACE": "metadata.namespace", "PART_OF": f"metadata.labels['{PART_OF}']"}
    deployment = router.deployment(
        {"name": name},
        own,
        heads,
        user=USER,
        pod={"serviceAccountName": name, "automountServiceAccountToken": True},
        env=[
            {"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in from_field.items()
        ],
    )
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": own, "ports": [{"name": "http", "port": CLIENT_PORT, "targetPort": ports.API}]},
    }
    budget = router.disruption_budget({"name": name}, own)
    folder = MANIFESTS / "components/replicas"
    return {
        folder / "router.yaml": commented(deployment, ROUTER_COMMENTS),
        folder / "service.yaml": commented(service, {}),
        folder / "poddisruptionbudget.yaml": commented(budget, {}),
    }


def commented(document: Mapping[str, Any], comments: Mapping[str, str] = COMMENTS) -> str:
    """The document with a reason above the lines that ask for one."""
    lines, left = ["# Written by scripts/generate."], dict(comments)
    for line in to_yaml([document]).splitlines():
        if reason := left.pop(line.strip(), None):
            lines.append(f"{line[: len(line) - len(line.lstrip())]}# {reason}")
        lines.append(line)
    return "\n".join(lines) + "\n"


def monitoring() -> dict[Path, str]:
    """What the component monitoring has, where `multinode render` reads it."""
    component, package = MANIFESTS / "components/monitoring", PACKAGE / "authoring/render/monitoring"
    names = ("alerts.yaml", "dashboard.json", "podmonitors.yaml")
    return {package / name: (component / name).read_text(encoding="utf-8") for name in names}


def files() -> Files:
    """All of them."""
    return {**launcher(), **runtimes(), **fetching(), **replicas(), **secrets(), **monitoring()}
