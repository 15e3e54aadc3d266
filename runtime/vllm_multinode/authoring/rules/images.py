"""Images: whether nodes can pull them, and always the same ones."""

import re
from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules.rule import MODEL, RUNTIMES, WORKER_SPEC, Case, Rule, always
from vllm_multinode.contract.finding import Finding
from vllm_multinode.k8s.access import text

_KINDS: Final = ("InferenceService", *RUNTIMES, "LeaderWorkerSet")
_REFERENCE: Final = re.compile(
    r"([a-z0-9]+([._-]+[a-z0-9]+)*(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
"""A reference as containerd and CRI-O take it. Source: github.com/distribution/reference."""
_PLACEHOLDER: Final = re.compile(
    r"[<>{}$]|:replace$|\b(todo|changeme|replace[-_]?me|your[-_])", re.IGNORECASE
)
_NOWHERE: Final = re.compile(
    r"(localhost|127\.[0-9.]+|0\.0\.0\.0|\[::1\])(:[0-9]+)?"
    r"|([a-z0-9-]+\.)*(example\.(com|org|net)|example|invalid|test|localhost|local)(:[0-9]+)?"
)
"""Hosts that mean the node itself, or that RFC 2606 and RFC 6762 keep from existing."""


def _unpullable(case: Case) -> Iterator[Finding]:
    if _replaced(case):
        return
    for container in case.containers:
        image = text(container.body, "image")
        why = _why(image) if image else ""
        if why:
            yield Finding((*container.path, "image"), f"no node can pull {image}: {why}.")


def _replaced(case: Case) -> bool:
    """Whether every service here that names this runtime brings images of its own."""
    name = text(case.body, "metadata", "name")
    services = [
        one.body
        for one in case.documents
        if one.kind == "InferenceService" and text(one.body, *MODEL, "runtime") == name
    ]
    return (
        case.document.kind in RUNTIMES
        and bool(services)
        and all(
            text(body, *MODEL, "image") and text(body, *WORKER_SPEC, "containers", 0, "image")
            for body in services
        )
    )


def _why(image: str) -> str:
    if _PLACEHOLDER.search(image):
        return "it is a placeholder"
    host, slash, _ = image.partition("/")
    if not _REFERENCE.fullmatch(image):
        return "it is not an image reference, and the kubelet reports InvalidImageName"
    if not slash:
        return "it has no registry, and Docker Hub has only official images without an owner"
    return f"{host} is not a registry that nodes can reach" if _NOWHERE.fullmatch(host) else ""


def _no_registry(case: Case) -> Iterator[Finding]:
    for container in case.containers:
        image = text(container.body, "image")
        host, slash, _ = image.partition("/")
        if image and slash and not _why(image) and not ({".", ":"} & set(host)):
            what = (
                f"{image} names no registry: each node looks where its own configuration says, usually "
                "docker.io."
            )
            yield Finding(
                (*container.path, "image"), what, f"Write docker.io/{image} if that is what you mean."
            )


def _unfixed(case: Case) -> Iterator[Finding]:
    for container in case.engines:
        image = text(container.body, "image")
        name = image.rpartition("/")[2]
        fixed = "@" in name or (":" in name and not name.endswith(":latest"))
        # A tag makes no image of a placeholder.
        if image and not fixed and _REFERENCE.fullmatch(image) and not _PLACEHOLDER.search(image):
            what = f"{image} may change at any time: a restarted pod may differ from its group."
            yield Finding((*container.path, "image"), what)


RULES: Final = (
    Rule(
        id="image-unpullable",
        severity="risk",
        message=(
            "No node can pull the image: it is a placeholder, no reference, or in no registry that nodes "
            "can reach."
        ),
        hint="Use an image with its registry, and push it there.",
        seen="kubelet's ErrImagePull and InvalidImageName",
        check=_unpullable,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="image-registry",
        severity="advice",
        message="Each node's configuration decides where an image without a registry is pulled from.",
        hint="Add the registry: docker.io, quay.io or your own.",
        seen="CRI-O's short names",
        check=_no_registry,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="image-latest",
        severity="advice",
        message=(
            "An image without a fixed tag may change at any time, and a restarted pod may differ from "
            "its group."
        ),
        hint="Use a version or a digest.",
        seen="launcher's preflight: versions must agree",
        check=_unfixed,
        kinds=_KINDS,
        holds=always,
    ),
)
