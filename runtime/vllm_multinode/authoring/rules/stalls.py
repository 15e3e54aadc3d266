"""What the webhooks let through, and what then never serves."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules.edits import Edit
from vllm_multinode.authoring.rules.rule import MODEL, PREDICTOR, WORKER_SPEC, Case, Found, Rule, every
from vllm_multinode.contract.kserve import CLAIM_SCHEME, claim_and_path
from vllm_multinode.k8s.access import Path, at, listed, mapping, number, text
from vllm_multinode.platforms import names
from vllm_multinode.platforms.releases import Release

_TABLE: Final = "the running controllers of v0.15.0 to v0.20.0"
_MODE: Final[Path] = ("metadata", "annotations", names.DEPLOYMENT_MODE)


def _before_multi_node(release: Release) -> bool:
    return not release.knows_worker_spec


def _recreating(release: Release) -> bool:
    return release.recreates_workers


def _worker_spec(case: Case) -> Iterator[Found]:
    if case.multi_node:
        yield Found(WORKER_SPEC)


def _runtime_without_workers(case: Case) -> Iterator[Found]:
    runtime = case.runtime
    if case.multi_node and runtime and at(runtime, "spec", "workerSpec") is None:
        what = (
            f"KServe's controller fails on every reconcile and makes nothing: the ServingRuntime "
            f"{text(runtime, 'metadata', 'name')} has no workerSpec."
        )
        yield Found(WORKER_SPEC, what)


def _knative(case: Case) -> Iterator[Found]:
    if case.multi_node and at(case.body, *_MODE) in case.release.knative_modes:
        yield Found(_MODE, fix=(Edit(_MODE, "RawDeployment"),))


def _mode_missing(case: Case) -> Iterator[Found]:
    if case.multi_node and at(case.body, *_MODE) is None:
        yield Found(("metadata",), fix=(Edit(_MODE, "RawDeployment"),))


def _mode_unknown(case: Case) -> Iterator[Found]:
    mode = at(case.body, *_MODE)
    known = (*case.release.knative_modes, *case.release.raw_modes)
    if case.multi_node and isinstance(mode, str) and mode not in known:
        what = (
            f"{case.release.label} does not know the deployment mode {mode} and takes the cluster's default."
        )
        fix = (Edit(_MODE, "RawDeployment"),) if mode == "Standard" else ()
        yield Found(_MODE, what, fix=fix)


def _runtime_not_fitting(case: Case) -> Iterator[Found]:
    found = case.selection
    if (
        found is not None
        and found.runtime is None
        and not found.missing
        and text(case.body, *MODEL, "runtime")
    ):
        yield Found(found.path, f"KServe makes nothing: {found.problem}")


def _replicas(case: Case) -> Iterator[Found]:
    least = number(case.body, *PREDICTOR, "minReplicas")
    if case.multi_node and least == 0:
        yield Found((*PREDICTOR, "minReplicas"))


def _many_replicas(case: Case) -> Iterator[Found]:
    least = number(case.body, *PREDICTOR, "minReplicas")
    if case.multi_node and least is not None and least > 1:
        what = (
            f"KServe makes {least} heads and the workers of one group: the other heads never form, and the "
            "service never becomes ready."
        )
        yield Found((*PREDICTOR, "minReplicas"), what)


def _custom_predictor(case: Case) -> Iterator[Found]:
    frameworks = any(at(case.body, *PREDICTOR, one) is not None for one in names.FRAMEWORKS)
    if case.multi_node and at(case.body, *MODEL) is None and not frameworks:
        yield Found(WORKER_SPEC)


def _claim(case: Case) -> Iterator[Found]:
    uri = text(case.body, *MODEL, "storageUri")
    path: Path = (*MODEL, "storageUri")
    if not (case.multi_node and uri.startswith(CLAIM_SCHEME)):
        return
    claim, folder = claim_and_path(uri)
    if not claim:
        yield Found(path, "no claim is named, so no pod can be made.", "Write pvc://<claim>/<path>.")
    elif case.document.namespace and claim == case.document.namespace and "/" in folder:
        what = f"the claim is {claim}, which is the namespace's name, and {folder} is the folder in it."
        yield Found(path, what, f"Write pvc://{folder} where {claim} is meant to be the namespace.")


def _service_ports(case: Case) -> Iterator[Found]:
    runtime, model = case.runtime_container("head"), mapping(case.body, *MODEL)
    if not runtime:
        return
    ports = [port for port in [*listed(runtime, "ports"), *listed(model, "ports")] if isinstance(port, dict)]
    # The first one becomes 80, the others keep their number.
    numbers = [80 if index == 0 else port.get("containerPort") for index, port in enumerate(ports)]
    if len(ports) > 1 and any(not port.get("name") for port in ports):
        what = "the Service cannot be made: of several container ports of the head each one needs a name."
        yield Found(MODEL, what, "Name each port of the head's container.")
    elif len(set(numbers)) < len(numbers):
        what = "the Service cannot be made: two container ports of the head become the same port of it."
        yield Found(MODEL, what, "Keep one of them; the first one becomes port 80.")


def _stopped(case: Case) -> Iterator[Found]:
    path: Path = ("metadata", "annotations", names.STOP)
    if text(case.body, *path).lower() == "true":
        yield Found(path)


RULES: Final = (
    Rule(
        "stopped",
        "stalls",
        "The annotation serving.kserve.io/stop stops the service: its objects are deleted.",
        "Remove it where the service is to run.",
        "KServe's controller",
        _stopped,
        holds=lambda release: release.knows_stop_annotation,
    ),
    Rule(
        "worker-spec-ignored",
        "stalls",
        "KServe before v0.15 does not know workerSpec in an InferenceService: it is dropped, and one "
        "single head "
        "pod is made.",
        "Use KServe v0.15.1 or newer.",
        "recorded: ray-pp2 of v0.14.1",
        _worker_spec,
        holds=_before_multi_node,
    ),
    Rule(
        "workers-recreated",
        "stalls",
        "KServe v0.20.0 deletes the workers' Deployment and the head's and workers' Services on "
        "every reconcile and "
        "makes them again, for ever (kserve#6113).",
        "Use v0.19.0.",
        _TABLE,
        _worker_spec,
        holds=_recreating,
    ),
    Rule(
        "runtime-without-worker-spec",
        "stalls",
        "KServe's controller fails on every reconcile and makes nothing: the ServingRuntime has no "
        "workerSpec.",
        "Name a ServingRuntime that has one.",
        _TABLE,
        _runtime_without_workers,
    ),
    Rule(
        "deployment-mode-knative",
        "stalls",
        "Only raw deployments have workers: as Serverless or Knative the head stays alone, and "
        "nothing at all is made "
        "where Knative is not installed.",
        "Set the annotation serving.kserve.io/deploymentMode to RawDeployment.",
        _TABLE,
        _knative,
    ),
    Rule(
        "deployment-mode-missing",
        "risk",
        "The cluster's default mode decides, and where that is Serverless or Knative no worker is made.",
        "Set the annotation serving.kserve.io/deploymentMode to RawDeployment.",
        "KServe's defaulting webhook",
        _mode_missing,
    ),
    Rule(
        "deployment-mode-unknown",
        "risk",
        "KServe does not know that deployment mode and takes the cluster's default.",
        "Write RawDeployment, which every version takes.",
        "KServe's webhooks, by version",
        _mode_unknown,
    ),
    Rule(
        "runtime-not-fitting",
        "stalls",
        "KServe makes nothing: the runtime is disabled, or does not support the model's format or protocol.",
        "Name the format and protocol that the ServingRuntime lists.",
        _TABLE,
        _runtime_not_fitting,
    ),
    Rule(
        "no-replicas",
        "stalls",
        "With minReplicas 0 KServe makes no head, and the workers run and wait.",
        "Set minReplicas to 1; the annotation serving.kserve.io/stop: 'true' stops a service.",
        _TABLE,
        _replicas,
    ),
    Rule(
        "many-replicas",
        "stalls",
        "KServe makes several heads and the workers of one group: the other heads never form, and "
        "the service never "
        "becomes ready.",
        "Set minReplicas to 1 and write several InferenceServices behind one Service.",
        _TABLE,
        _many_replicas,
    ),
    Rule(
        "custom-predictor",
        "stalls",
        "KServe makes nothing of a predictor that has a workerSpec and no model.",
        "Write spec.predictor.model with a runtime.",
        _TABLE,
        _custom_predictor,
    ),
    Rule(
        "storage-claim",
        "advice",
        "A pvc:// address is pvc://<claim>/<path in it>: there is no part for the namespace, and "
        "without a claim no pod "
        "can be made.",
        "Write pvc://<claim>/<path>.",
        _TABLE,
        _claim,
    ),
    Rule(
        "service-ports",
        "stalls",
        "The Service cannot be made of the head's container ports: several without names, or two of "
        "the same number.",
        "Name each port of the head's container; the first one becomes port 80.",
        "API server; KServe's createDefaultSvc",
        _service_ports,
        holds=every,
    ),
)
