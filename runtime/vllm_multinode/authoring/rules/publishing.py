"""What leads into a service from outside the cluster: whether it asks for a key, and speaks TLS."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules.group_pods import Pod, pods
from vllm_multinode.authoring.rules.rule import MODEL, Case, Rule, always
from vllm_multinode.contract import env, labels
from vllm_multinode.contract.finding import Finding
from vllm_multinode.k8s.access import at, listed, mapping, text
from vllm_multinode.k8s.documents import Document

_WAYS: Final = ("Route", "Ingress", "HTTPRoute")
_SERVICES: Final = ("InferenceService", "LeaderWorkerSet")
_VISIBILITY: Final = "networking.kserve.io/visibility"
_AUTH: Final = "security.opendatahub.io/enable-auth"
_INSTANCE: Final = "app.kubernetes.io/instance"
_TLS: Final = ("HTTPS", "TLS")
_GUARDED: Final = ("/v1", "/v2")


def _backends(way: Document) -> list[str]:
    """Names of the Services that it leads to."""
    spec = mapping(way.body, "spec")
    if way.kind == "Route":
        return [text(spec, "to", "name")]
    rules = listed(spec, "rules")
    if way.kind == "HTTPRoute":
        return [text(one, "name") for rule in rules for one in listed(rule, "backendRefs")]
    paths = [one for rule in rules for one in listed(rule, "http", "paths")]
    backends = [at(spec, "defaultBackend"), *(at(one, "backend") for one in paths)]
    return [text(one, "service", "name") for one in backends]


def _publishers(case: Case, head: Pod) -> list[Document]:
    """What leads to the head of a group, by its own Service, KServe's, or that of a router before it."""
    leading = {f"{case.document.name}-predictor"} if case.document.kind == "InferenceService" else set()
    for one in case.documents:
        selector = mapping(one.body, "spec", "selector")
        if one.kind != "Service" or not selector:
            continue
        to_head = all(head.labels.get(key) == value for key, value in selector.items())
        to_router = selector.get(_INSTANCE) == head.labels.get(labels.PART_OF)
        if to_head or to_router:
            leading.add(one.name)
    return [one for one in case.documents if one.kind in _WAYS and leading & set(_backends(one))]


def _head(case: Case) -> Pod | None:
    return next((pod for pod in pods(case) if pod.role == "head"), None)


def _keyless(case: Case) -> Iterator[Finding]:
    head = _head(case)
    if head is None or env.API_KEY in head.variables() or _has_key(head.words()):
        return
    ways = [f"{one.kind} {one.name}" for one in _publishers(case, head)]
    proxied = text(case.body, "metadata", "annotations", _AUTH) == "true"
    if text(case.body, "metadata", "labels", _VISIBILITY) == "exposed" and not proxied:
        ways.append(f"the label {_VISIBILITY}")
    if ways:
        path = (*MODEL, "env") if case.document.kind == "InferenceService" else (*head.container_path, "env")
        yield Finding(path, f"{' and '.join(ways)} publishes the API, and the API requires no key.")


def _wide(case: Case) -> Iterator[Finding]:
    """What leads a published way beyond the paths that the API key is asked for."""
    way = case.document
    for other, head in _services(case):
        keyed = env.API_KEY in head.variables() or _has_key(head.words())
        if keyed and way in _publishers(other, head):
            paths = list(_paths(way))
            if not paths or not all(path.startswith(_GUARDED) for path in paths):
                yield Finding(("spec",))
            return


def _paths(way: Document) -> Iterator[str]:
    """The prefixes that it takes; none where it takes all."""
    spec = mapping(way.body, "spec")
    if way.kind == "Route":
        yield from [text(spec, "path")] if text(spec, "path") else []
        return
    for rule in listed(spec, "rules"):
        if way.kind == "HTTPRoute":
            yield from (text(one, "path", "value") or "/" for one in listed(rule, "matches") or [{}])
        else:
            yield from (text(one, "path") or "/" for one in listed(rule, "http", "paths"))
    if at(spec, "defaultBackend"):
        yield "/"


def _has_key(words: list[str]) -> bool:
    return any(word.partition("=")[0] == "--api-key" for word in words)


def _services(case: Case) -> Iterator[tuple[Case, Pod]]:
    """The services over several nodes among the documents."""
    for one in case.documents:
        if one.kind in _SERVICES:
            other = Case(one, case.documents, case.release)
            head = _head(other)
            if head is not None:
                yield other, head


def _open_text(case: Case) -> Iterator[Finding]:
    way = case.document
    if not any(way in _publishers(other, head) for other, head in _services(case)):
        return
    if way.kind == "HTTPRoute":
        if _plain_gateway(case, way):
            yield Finding(("spec", "parentRefs"))
    elif not at(way.body, "spec", "tls"):
        yield Finding(("spec",))


def _plain_gateway(case: Case, way: Document) -> bool:
    """Whether a Gateway among the documents takes its requests without TLS."""
    for parent in listed(way.body, "spec", "parentRefs"):
        for gateway in case.documents:
            if gateway.kind != "Gateway" or gateway.name != text(parent, "name"):
                continue
            listeners = listed(gateway.body, "spec", "listeners")
            named = text(parent, "sectionName")
            taken = [one for one in listeners if not named or text(one, "name") == named]
            if any(text(one, "protocol") not in _TLS for one in taken):
                return True
    return False


RULES: Final = (
    Rule(
        id="api-key-missing",
        severity="risk",
        message="The API is published without a key: anyone who can reach it can use the accelerators.",
        hint=(
            f"Give the head {env.API_KEY} from a Secret (the component api-key, `publish` or apiKeySecret of "
            "a spec), or put OpenShift AI's proxy in front of it."
        ),
        seen="vLLM's API server",
        check=_keyless,
        kinds=_SERVICES,
        holds=always,
    ),
    Rule(
        id="published-paths",
        severity="risk",
        message=(
            "It publishes more than /v1, and vLLM requires its API key only there: /invocations, /pooling, "
            "/score and others are open to everyone."
        ),
        hint="Publish the path /v1.",
        seen="vLLM 0.32.0's middleware",
        check=_wide,
        kinds=_WAYS,
        holds=always,
    ),
    Rule(
        id="tls-missing",
        severity="risk",
        message="It publishes the API without TLS: prompts, answers and the API key can be read in transit.",
        hint="Set tls, or a listener of protocol HTTPS on its Gateway.",
        seen="Route, Ingress and Gateway API",
        check=_open_text,
        kinds=_WAYS,
        holds=always,
    ),
)
