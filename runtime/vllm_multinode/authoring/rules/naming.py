"""Names that are too long, or that KServe looks for and does not find."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules.edits import Edit
from vllm_multinode.authoring.rules.rule import PREDICTOR, RUNTIMES, Case, Found, Rule
from vllm_multinode.k8s.access import at, containers, text
from vllm_multinode.platforms import names

_TABLE: Final = "the running controllers of v0.15.0 to v0.20.0"
_ON_CLUSTERS: Final = "default"
"""The namespace that is taken where none is written."""


def _host_name(case: Case) -> Iterator[Found]:
    name = case.document.name
    namespace = case.document.namespace
    length = len(f"{name}-predictor-{namespace or _ON_CLUSTERS}")
    if length > names.LABEL_LIMIT:
        where = f"in the namespace {namespace}" if namespace else f"even in the namespace {_ON_CLUSTERS}"
        what = (
            f"KServe makes no Deployment: the host name <name>-predictor-<namespace> has {length} characters "
            f"{where}, and {names.LABEL_LIMIT} are allowed; only an event tells."
        )
        yield Found(("metadata", "name"), what)


def _label_length(case: Case) -> Iterator[Found]:
    label = names.app_label(names.workers(case.document.name))
    if case.multi_node and len(label) > names.LABEL_LIMIT:
        most = names.LABEL_LIMIT - len(names.app_label(names.workers("")))
        what = (
            f"KServe cannot make the workers' Deployment: its label app=isvc.<name>-predictor-worker has "
            f"{len(label)} characters, and {names.LABEL_LIMIT} are allowed."
        )
        yield Found(("metadata", "name"), what, f"Shorten the name to {most} characters.")


def _worker_container_name(case: Case) -> Iterator[Found]:
    found = [*containers(case.body, ("spec", "workerSpec", "containers"))]
    if found and all(container.get("name") != names.WORKER_CONTAINER for _, container in found):
        path, container = found[0]
        what = (
            f"KServe makes no pods: it looks for the container {names.WORKER_CONTAINER} and finds "
            f"{text(container, 'name') or 'none'}."
        )
        fix = (Edit((*path, "name"), names.WORKER_CONTAINER),) if len(found) == 1 else ()
        yield Found((*path, "name"), what, fix=fix)


def _head_container_name(case: Case) -> Iterator[Found]:
    found = [*containers(case.body, ("spec", "containers"))]
    multi_node = at(case.body, "spec", "workerSpec") is not None
    if found and multi_node and all(one.get("name") != names.HEAD_CONTAINER for _, one in found):
        path, container = found[0]
        what = (
            f"KServe makes no pods: it looks for the container {names.HEAD_CONTAINER} and finds "
            f"{text(container, 'name') or 'none'}."
        )
        fix = (Edit((*path, "name"), names.HEAD_CONTAINER),) if len(found) == 1 else ()
        yield Found((*path, "name"), what, fix=fix)


def _head_service(case: Case) -> Iterator[Found]:
    name = case.document.name
    variant = text(case.body, *PREDICTOR, "name") if case.release.knows_variants else ""
    told, made = names.head_service(name, 1), names.head_service(names.predictor(name, variant), 1)
    if case.multi_node and told != made:
        what = f"the workers look for their head at {told}, and KServe names that Service {made}."
        if variant:
            yield Found((*PREDICTOR, "name"), what, "Leave spec.predictor.name out.")
        else:
            yield Found(("metadata", "name"), what, "Choose a name that does not end in -predictor.")


RULES: Final = (
    Rule(
        "head-service-name",
        "stalls",
        "The workers look for their head at another Service than the one that KServe makes.",
        "Choose a name that does not end in -predictor, and leave spec.predictor.name out.",
        "KServe's names, GetHeadServiceName",
        _head_service,
    ),
    Rule(
        "host-name-length",
        "stalls",
        "KServe makes no Deployment where <name>-predictor-<namespace> has more than 63 characters; "
        "only an event "
        "tells.",
        "Shorten the name or the namespace.",
        _TABLE,
        _host_name,
    ),
    Rule(
        "label-length",
        "stalls",
        "KServe cannot make the workers' Deployment: its label app=isvc.<name>-predictor-worker is "
        "longer than 63 "
        "characters.",
        "Shorten the name to 41 characters.",
        "API server",
        _label_length,
    ),
    Rule(
        "worker-container-name",
        "stalls",
        "KServe makes no pods: the ServingRuntime's worker container is not named worker-container.",
        "Name it worker-container.",
        _TABLE,
        _worker_container_name,
        RUNTIMES,
    ),
    Rule(
        "head-container-name",
        "stalls",
        "KServe makes no pods: the ServingRuntime has no container named kserve-container.",
        "Name the head's container kserve-container.",
        "KServe's controller, MergeServingRuntimeAndInferenceServiceSpecs",
        _head_container_name,
        RUNTIMES,
    ),
)
