"""What stands beside an InferenceService and says more of it: its claim, a download Pod, a Route."""

import re
from collections.abc import Mapping, Sequence

from vllm_multinode.convert import engine_arguments, environment
from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.record import Path, Record
from vllm_multinode.k8s.access import mapping


def take_claim(draft: Draft, claim: str, others: Sequence[Record]) -> None:
    """Take the claim with the model, and what fills it."""
    for other in others:
        if other.body.get("kind") == "PersistentVolumeClaim" and other.get("metadata", "name") == claim:
            other.changed((), "", "It is written as model.createClaim.")
            size = other.get("spec", "resources", "requests", "storage")
            for value, path, target in (
                (size, ("spec", "resources", "requests", "storage"), "size"),
                (other.get("spec", "storageClassName"), ("spec", "storageClassName"), "storageClassName"),
                (other.get("spec", "accessModes"), ("spec", "accessModes"), "accessModes"),
            ):
                if value is not None:
                    draft.set(f"model.createClaim.{target}", value)
                    other.carried(path, f"model.createClaim.{target}")
        if other.body.get("kind") in ("Pod", "Job") and _mounts(other, claim):
            _download(other, draft)


def _mounts(other: Record, claim: str) -> bool:
    return re.search(rf"'claimName': '{re.escape(claim)}'", str(other.body)) is not None


def _download(other: Record, draft: Draft) -> None:
    """A Pod or Job that fills the claim from the hub: its variable MODEL, and the hub's token."""
    spec: Path = ("spec",) if other.body.get("kind") == "Pod" else ("spec", "template", "spec")
    other.changed((), "", "The fetch Job does it.")
    for part in ("initContainers", "containers"):
        for index, container in enumerate(other.list(*spec, part)):
            env = container.get("env") if isinstance(container, Mapping) else None
            for number, item in enumerate(env if isinstance(env, list) else []):
                path = (*spec, part, index, "env", number)
                name = str(item.get("name")) if isinstance(item, Mapping) else ""
                if name in ("MODEL", "MODEL_ID", "MODEL_NAME", "HF_MODEL") and isinstance(
                    item.get("value"), str
                ):
                    engine_arguments.model(draft, item["value"])
                    other.changed(path, "model.source", "The model that the Pod downloads.")
                elif name in environment.HUB_TOKENS:
                    reference = mapping(item, "valueFrom", "secretKeyRef")
                    environment.hub_secret(
                        draft, str(reference.get("name", "")), str(reference.get("key", ""))
                    )
                    other.changed(path, "model.sourceSecret", "The Secret with the hub's token.")


def take_companion(other: Record, draft: Draft) -> None:
    """Take a Route to the service, and pass over what is written for every service."""
    if other.is_answered(("kind",)):
        return
    kind, name = other.body.get("kind"), str(other.get("metadata", "name") or "")
    if kind == "Route" and draft.name in str(other.get("spec", "to", "name") or ""):
        draft.set("publish.via", "route")
        other.changed((), "publish", "A Route is written, with TLS and the API key.")
        if isinstance(other.get("spec", "host"), str):
            draft.set("publish.host", other.get("spec", "host"))
            other.carried(("spec", "host"), "publish.host")
    elif kind in ("NetworkPolicy", "PodDisruptionBudget", "Service") and name.startswith(draft.name):
        other.changed((), "", "One is written for every service.")
