"""What stands beside a service of our own and says more of its spec: claim, Job, Route, policies."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from vllm_multinode.authoring.render import fetch
from vllm_multinode.authoring.render.container import launcher_command
from vllm_multinode.contract import labels, ports
from vllm_multinode.convert.draft import Draft
from vllm_multinode.k8s.access import listed, mapping

Body = Mapping[str, Any]

_LAUNCHER: Final = f"{labels.MANAGER}-launcher-"
_WAYS: Final = {"Route": "route", "Gateway": "gateway", "Ingress": "ingress"}


def take_model(fields: Draft, bodies: Sequence[Body]) -> None:
    """Where the model comes from, by the Job that fetches it, and its claim.

    Args:
        fields: so far; `model.claim` is among them.
        bodies: every object of the service.
    """
    for body in bodies:
        template = mapping(body, "spec", "template", "spec")
        container = mapping(next(iter(listed(template, "containers")), None))
        if body.get("kind") != "Job" or container.get("name") != fetch.NAME:
            continue
        words = [str(word) for word in listed(container, "args")]
        if fetch.NAME in words[:-2]:
            fields.set("model.source", words[words.index(fetch.NAME) + 1])
        elif len(words) > 1:
            fields.set("model.source", words[-2])
        text = str(container)
        if found := re.search(r"'(?:secretKeyRef|secretRef|secret)': \{[^{}]*'name': '([^']+)'", text):
            fields.set("model.sourceSecret", found[1])
    claim = fields.get("model.claim")
    for body in bodies:
        if body.get("kind") != "PersistentVolumeClaim" or mapping(body, "metadata").get("name") != claim:
            continue
        size = mapping(body, "spec", "resources", "requests").get("storage")
        fields.set("model.createClaim", {"size": size})
        for field in ("storageClassName", "accessModes"):
            if mapping(body, "spec").get(field) is not None:
                fields.set(f"model.createClaim.{field}", mapping(body, "spec")[field])


def take_companions(fields: Draft, service: str, bodies: Sequence[Body]) -> None:
    """What stands beside the service, and what is left out.

    Args:
        fields: so far.
        service: its name.
        bodies: every object of it.
    """
    kinds = {(str(body.get("kind")), str(mapping(body, "metadata").get("name"))) for body in bodies}
    fields.set("disruptionBudget", ("PodDisruptionBudget", service) in kinds)
    fields.set("network.policy", ("NetworkPolicy", service) in kinds)
    fields.set("monitoring", any(kind == "PodMonitor" for kind, _ in kinds))
    router = next((body for body in bodies if ("Deployment", f"{service}-router") == _key(body)), None)
    if (fields.get("replicas") or 1) > 1:
        containers = listed(mapping(router or {}, "spec", "template", "spec"), "containers")
        image = mapping(next(iter(containers), {})).get("image")
        fields.set("router", False if router is None else {"image": image})
    if any(_has_image_of_ours(body) for body in bodies):
        fields.set("runtime.install", "image")
    if not any(kind == "ServingRuntime" or name.startswith(_LAUNCHER) for kind, name in kinds):
        fields.set("runtime.write", False)
    for body in bodies:
        if body.get("kind") in _WAYS:
            fields.fields.pop("publish", None)
            _publish(fields, body)
        if _key(body) == ("NetworkPolicy", service):
            _peers(fields, body)


def _has_image_of_ours(body: Body) -> bool:
    """Whether the first of its containers starts the launcher that its image holds."""
    template = mapping(body, "spec", "leaderWorkerTemplate", "leaderTemplate", "spec") or mapping(
        body, "spec"
    )
    return [mapping(one).get("command") for one in listed(template, "containers")][:1] == [
        launcher_command("image")
    ]


def _publish(fields: Draft, body: Body) -> None:
    spec = mapping(body, "spec")
    fields.set("publish.via", _WAYS[str(body["kind"])])
    listener = mapping(next(iter(listed(spec, "listeners")), {}))
    tls = mapping(next(iter(listed(spec, "tls")), {}))
    certificate = mapping(next(iter(listed(listener.get("tls"), "certificateRefs")), {}))
    hosts = (spec.get("host"), listener.get("hostname"), *listed(tls, "hosts"))
    for field, value in {
        "host": next((host for host in hosts if isinstance(host, str)), None),
        "className": spec.get("gatewayClassName") or spec.get("ingressClassName"),
        "tlsSecret": certificate.get("name") or tls.get("secretName"),
        "reencrypt": mapping(spec, "tls").get("termination") == "reencrypt" or None,
    }.items():
        if value is not None:
            fields.set(f"publish.{field}", value)
    for key, value in mapping(body, "metadata", "annotations").items():
        fields.put("publish.annotations", key, value)


def _peers(fields: Draft, body: Body) -> None:
    """Who may reach the API and the supervisor beside those that every policy names."""
    for rule in listed(mapping(body, "spec"), "ingress"):
        numbers = [mapping(port).get("port") for port in listed(rule, "ports")]
        peers = [peer for peer in listed(rule, "from") if _is_of_user(peer)]
        if peers and numbers:
            fields.set("network.statusFrom" if ports.SUPERVISOR in numbers else "network.clientsFrom", peers)


def _is_of_user(peer: Any) -> bool:
    text = str(peer)
    known = (labels.PART_OF, "network.openshift.io", "openshift-user-workload-monitoring", "host-network")
    return isinstance(peer, Mapping) and not any(one in text for one in known)


def _key(body: Body) -> tuple[str, str]:
    return str(body.get("kind")), str(mapping(body, "metadata").get("name"))
