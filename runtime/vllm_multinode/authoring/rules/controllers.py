"""What the webhooks let through and what then never serves; `platforms.kserve` finds most of it."""

from collections.abc import Callable, Iterator
from typing import Final

from vllm_multinode.authoring.rules.rule import MODEL, RUNTIMES, Case, Check, Rule, always, every, simulated
from vllm_multinode.contract.finding import Edit, Finding, Path, Severity
from vllm_multinode.contract.kserve import CLAIM_SCHEME, claim_and_path
from vllm_multinode.k8s.access import at, containers, listed, text
from vllm_multinode.platforms import names
from vllm_multinode.platforms.releases import Release

_TABLE: Final = "the running controllers of v0.15.0 to v0.20.0"
_SERVICE: Final = ("InferenceService",)
_MODE: Final[Path] = ("metadata", "annotations", names.DEPLOYMENT_MODE)


def _rule(
    *,
    name: str,
    message: str,
    hint: str,
    seen: str = _TABLE,
    severity: Severity = "stalls",
    check: Check | None = None,
    kinds: tuple[str, ...] = _SERVICE,
    holds: Callable[[Release], bool] = every,
) -> Rule:
    """A rule that the control plane's simulation breaks, unless it has a check of its own."""
    return Rule(
        id=name,
        severity=severity,
        message=message,
        hint=hint,
        seen=seen,
        check=check or simulated(name),
        kinds=kinds,
        holds=holds,
    )


def _mode_missing(case: Case) -> Iterator[Finding]:
    if case.multi_node and at(case.body, *_MODE) is None:
        yield Finding(("metadata",), fix=(Edit(_MODE, "RawDeployment"),))


def _mode_unknown(case: Case) -> Iterator[Finding]:
    mode = at(case.body, *_MODE)
    known = (*case.release.knative_modes, *case.release.raw_modes, "ModelMesh")
    if case.multi_node and isinstance(mode, str) and mode not in known:
        message = (
            f"{case.release.label} does not know the deployment mode {mode} and uses the cluster's default."
        )
        fix = (Edit(_MODE, "RawDeployment"),) if mode == "Standard" else ()
        yield Finding(_MODE, message, fix=fix)


def _claim(case: Case) -> Iterator[Finding]:
    uri = text(case.body, *MODEL, "storageUri")
    path: Path = (*MODEL, "storageUri")
    if not (case.multi_node and uri.startswith(CLAIM_SCHEME)):
        return
    claim, folder = claim_and_path(uri)
    if not claim:
        yield Finding(path, "no claim is given, so no pod can be created.", "Write pvc://<claim>/<path>.")
    elif case.document.namespace and claim == case.document.namespace and "/" in folder:
        message = f"the claim is {claim}, which is the namespace's name, and {folder} is the folder in it."
        yield Finding(path, message, f"Write pvc://{folder} where {claim} is meant to be the namespace.")


def _container_name(case: Case, path: Path, wanted: str) -> Iterator[Finding]:
    """A runtime's containers of which none has the name that KServe looks for."""
    given = [*containers(case.body, path)]
    if given and all(container.get("name") != wanted for _, container in given):
        place, container = given[0]
        name = text(container, "name") or "none"
        message = f"KServe creates no pods: it needs the container {wanted} and finds {name}."
        fix = (Edit((*place, "name"), wanted),) if len(given) == 1 else ()
        yield Finding((*place, "name"), message, fix=fix)


def _worker_container(case: Case) -> Iterator[Finding]:
    if case.document.kind not in RUNTIMES:
        yield from simulated("worker-container-name")(case)
        return
    yield from _container_name(case, ("spec", "workerSpec", "containers"), names.WORKER_CONTAINER)
    if at(case.body, "spec", "workerSpec") is not None and not listed(
        case.body, "spec", "workerSpec", "containers"
    ):
        yield Finding(("spec", "workerSpec"), "KServe creates no pods: the workerSpec has no containers.")


def _head_container(case: Case) -> Iterator[Finding]:
    if at(case.body, "spec", "workerSpec") is not None:
        yield from _container_name(case, ("spec", "containers"), names.HEAD_CONTAINER)


RULES: Final = (
    _rule(
        name="head-service-name",
        message="The workers look for their head at a Service other than the one that KServe creates.",
        hint="Choose a name that does not end in -predictor, and omit spec.predictor.name.",
        seen="KServe's names, GetHeadServiceName",
    ),
    _rule(
        name="host-name-length",
        message=(
            "KServe creates no Deployment if <name>-predictor-<namespace> has more "
            "than 63 characters; only an event reports it."
        ),
        hint="Shorten the name or the namespace.",
    ),
    _rule(
        name="label-length",
        message=(
            "The API server rejects the workers' Deployment: its label app=isvc.<name>-predictor-worker is "
            "longer than 63 characters."
        ),
        hint="Shorten the name to 41 characters.",
        seen="API server",
    ),
    _rule(
        name="worker-container-name",
        message=(
            "KServe creates no pods: the workers' container is not named worker-container, in the "
            "ServingRuntime or in the InferenceService."
        ),
        hint="Name it worker-container.",
        check=_worker_container,
        kinds=(*_SERVICE, *RUNTIMES),
    ),
    _rule(
        name="head-container-name",
        message="KServe creates no pods: the ServingRuntime has no container named kserve-container.",
        hint="Name the head's container kserve-container.",
        seen="KServe's controller, MergeServingRuntimeAndInferenceServiceSpecs",
        check=_head_container,
        kinds=RUNTIMES,
    ),
    _rule(
        name="stopped",
        message="The annotation serving.kserve.io/stop stops the service: its objects are deleted.",
        hint="Remove it to run the service.",
        seen="KServe's controller",
        holds=lambda release: release.knows_stop_annotation,
    ),
    _rule(
        name="worker-spec-ignored",
        message=(
            "KServe before v0.15 does not know workerSpec in an InferenceService: it is dropped, and a "
            "single head pod is created."
        ),
        hint="Use KServe v0.15.1 or newer, or a LeaderWorkerSet.",
        seen="recorded: ray-pp2 of v0.14.1",
        holds=lambda release: not release.knows_worker_spec,
    ),
    _rule(
        name="workers-recreated",
        message=(
            "KServe deletes the workers' Deployment and the head's and workers' Services on every "
            "reconcile and creates them again, endlessly (kserve#6113)."
        ),
        hint="Use another release, or a LeaderWorkerSet: multinode render --target lws.",
        holds=lambda release: release.recreates_workers,
    ),
    _rule(
        name="oci-workers-refused",
        message=(
            "An oci:// model is admitted, and KServe's pod webhook then rejects every worker's pod: it "
            "looks for a container kserve-container."
        ),
        hint="Use a claim, or a release that supports such workers: KServe v0.17, OpenShift AI 3.2.",
        seen="the running controllers of v0.16.0 and of OpenShift AI 2.24 to 3.0",
        holds=lambda release: release.refuses_oci_workers,
    ),
    _rule(
        name="runtime-without-worker-spec",
        message="KServe's controller panics on every reconcile and creates nothing: the ServingRuntime "
        "has no workerSpec.",
        hint="Use a ServingRuntime that has one.",
    ),
    _rule(
        name="runtime-not-fitting",
        message=(
            "KServe creates nothing: the runtime is disabled, or does not support the model's format or "
            "protocol."
        ),
        hint="Use a format and protocol that the ServingRuntime lists.",
        holds=always,
    ),
    _rule(
        name="runtime-unknown",
        severity="risk",
        message=(
            "The ServingRuntime is neither among the files nor known, so what depends on it was not checked."
        ),
        hint=(
            "Name its file as well; for a runtime of OpenShift AI name the platform, such as "
            "openshift-ai-2.25."
        ),
        seen="KServe's selection of runtimes",
        holds=always,
    ),
    _rule(
        name="deployment-mode-knative",
        message=(
            "Only raw deployments have workers: with Serverless or Knative the head "
            "stays alone, and nothing is created if Knative is not installed."
        ),
        hint="Set the annotation serving.kserve.io/deploymentMode to RawDeployment.",
    ),
    _rule(
        name="deployment-mode-modelmesh",
        message=(
            "KServe leaves a service with the deployment mode ModelMesh to another controller, which has no "
            "workers: nothing is created."
        ),
        hint="Set the annotation serving.kserve.io/deploymentMode to RawDeployment.",
        seen="KServe's controller",
    ),
    _rule(
        name="deployment-mode-missing",
        severity="risk",
        message=("The cluster's default mode decides; if it is Serverless or Knative, no worker is created."),
        hint="Set the annotation serving.kserve.io/deploymentMode to RawDeployment.",
        seen="KServe's defaulting webhook",
        check=_mode_missing,
    ),
    _rule(
        name="deployment-mode-unknown",
        severity="risk",
        message="KServe does not know that deployment mode and uses the cluster's default.",
        hint="Use RawDeployment, which every release supports.",
        seen="KServe's webhooks, by version",
        check=_mode_unknown,
    ),
    _rule(
        name="no-replicas",
        message="With minReplicas 0 KServe creates no head, and the workers run and wait.",
        hint="Set minReplicas to 1; the annotation serving.kserve.io/stop: 'true' stops a service.",
    ),
    _rule(
        name="many-replicas",
        message=(
            "KServe creates several heads but the workers of only one group: the other heads never form "
            "a group, and the "
            "service never becomes ready."
        ),
        hint="Set minReplicas to 1 and use several InferenceServices behind one Service.",
    ),
    _rule(
        name="custom-predictor",
        message=(
            "A predictor that has a workerSpec and no model gets no ServingRuntime: KServe's controller "
            "panics, and nothing is created."
        ),
        hint="Set spec.predictor.model with a runtime.",
    ),
    _rule(
        name="storage-claim",
        severity="advice",
        message=(
            "A pvc:// address is pvc://<claim>/<path in it>: there is no part for the namespace, and "
            "without a claim no pod can be created."
        ),
        hint="Write pvc://<claim>/<path>.",
        check=_claim,
    ),
    _rule(
        name="placeholder-unknown",
        message="KServe creates nothing if it cannot resolve a {{placeholder}} of the ServingRuntime.",
        hint="Use {{.Name}}, {{.Namespace}}, {{.Labels.x}} or {{.Annotations.x}} only.",
        seen="KServe's ReplacePlaceholders",
        kinds=(*_SERVICE, *RUNTIMES),
    ),
    _rule(
        name="worker-placeholder",
        severity="risk",
        message=(
            "KServe fills in placeholders such as {{.Name}} in the head only; a worker gets them literally."
        ),
        hint="Use $(ISVC_NAME) in the workers' container.",
        seen="KServe's predictor, multiNodeProcess",
    ),
)
