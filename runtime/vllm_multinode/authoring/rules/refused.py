"""What KServe's webhooks refuse; the predicates and the webhooks' words are those of `authoring.preview`."""

import functools
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from vllm_multinode.authoring.rules.edits import Edit
from vllm_multinode.authoring.rules.rule import PREDICTOR, RUNTIMES, Case, Found, Rule, every
from vllm_multinode.contract import env
from vllm_multinode.k8s.access import Path, at, listed, number
from vllm_multinode.platforms import names
from vllm_multinode.platforms.kserve import defaulting
from vllm_multinode.platforms.kserve.admission import Refusal, refusals_of_runtime, refusals_of_service
from vllm_multinode.platforms.releases import Release

_KINDS: Final = ("InferenceService", *RUNTIMES)
_OTHER: Final = "webhook-refuses"


class _Words(NamedTuple):
    """How a rule is known from a webhook's words, and what the rule says."""

    words: str
    id: str
    message: str
    hint: str
    seen: str = "KServe's webhook"
    holds: Callable[[Release], bool] = every


_WORDS: Final = (
    _Words(
        "InferenceService name must consist",
        "service-name",
        "KServe refuses the name: it must match [a-z]([-a-z0-9]*[a-z0-9])?.",
        "Begin with a letter; use lower-case letters, digits and dashes.",
    ),
    _Words(
        r"autoscaler\(|not a supported autoscaler",
        "autoscaler-class",
        "KServe refuses a multi-node service whose autoscaler class is not the one that its version wants.",
        "Set the annotation serving.kserve.io/autoscalerClass to none, for v0.15.0 (OpenShift AI "
        "2.14 to 2.16) to "
        "external.",
        "recorded: reject-autoscaler-hpa",
    ),
    _Words(
        "setting PYTHONPATH",
        "python-path",
        "KServe refuses the environment variable PYTHONPATH from v0.18 on.",
        "Put the modules into the image.",
        holds=lambda release: release.refuses_python_path,
    ),
    _Words(
        "multiple containers in workerSpec",
        "worker-containers",
        "KServe refuses more than one worker container.",
        "Keep worker-container.",
    ),
    _Words(
        r"setting (TENSOR|PIPELINE)_PARALLEL_SIZE",
        "size-variables",
        "KServe refuses TENSOR_PARALLEL_SIZE and PIPELINE_PARALLEL_SIZE as environment variables: it "
        "sets them.",
        "Write tensorParallelSize and pipelineParallelSize into workerSpec.",
        "recorded: reject-env-tp",
    ),
    _Words(
        "nknown GPU resource type",
        "gpu-type-unknown",
        "KServe refuses a resource that it takes for an unknown GPU: all but CPU, memory, storage "
        "and its four "
        "GPU types, also rdma/hca and huge pages.",
        "Name it in the annotation serving.kserve.io/gpu-resource-types, a JSON list: of the "
        "InferenceService, "
        "and of the ServingRuntime's spec.",
        "recorded: reject-unknown-gpu",
    ),
    _Words(
        "invalid GPU format",
        "gpu-types-annotation",
        "KServe refuses the annotation serving.kserve.io/gpu-resource-types: it is no JSON list of names.",
        'Write it as ["nvidia.com/mig-3g.40gb"].',
    ),
    _Words(
        "StorageURI must be set",
        "storage-missing",
        "KServe refuses a multi-node service without a storageUri.",
        "Set spec.predictor.model.storageUri to pvc://<claim>/<path>.",
        "recorded: reject-no-storage",
    ),
    _Words(
        "Storage Protocol",
        "storage-scheme",
        "KServe refuses that scheme of storageUri: multi-node takes pvc, and from v0.16 on oci.",
        "Copy the model to a claim and name it as pvc://<claim>/<path>.",
        "recorded: reject-s3",
    ),
    _Words(
        "PipelineParallelSize cannot be less",
        "pipeline-size",
        "KServe refuses a pipelineParallelSize below 1, v0.15.0 one below 2.",
        "Raise pipelineParallelSize.",
    ),
    _Words(
        "TensorParallelSize cannot be less",
        "tensor-size",
        "KServe refuses a tensorParallelSize below 1.",
        "Set tensorParallelSize to 1 or more.",
        "recorded: reject-tp0",
    ),
    _Words(
        "must be set when WorkerSpec is set",
        "runtime-sizes",
        "KServe v0.15.0 refuses a ServingRuntime whose workerSpec does not say both sizes.",
        "Write tensorParallelSize and pipelineParallelSize into its workerSpec.",
        holds=lambda release: release.knows_worker_spec and release.runtime_must_name_sizes,
    ),
    _Words(
        "'name' field is not allowed",
        "model-name",
        "KServe refuses a name inside spec.predictor.model from v0.16 on.",
        "Remove it; clients ask for the InferenceService's name.",
        holds=lambda release: release.knows_storage_uris,
    ),
    _Words(
        "xactly one of",
        "one-implementation",
        "KServe refuses a predictor that has not exactly one implementation.",
        "Keep spec.predictor.model alone.",
    ),
    _Words(
        "(Min|Max)Replicas'",
        "replica-bounds",
        "KServe refuses replicas below 0, and a minReplicas above maxReplicas.",
        "Set both to 1.",
    ),
    _Words(
        "customizing deploymentStrategy",
        "strategy-mode",
        "KServe refuses deploymentStrategy: it does not take the service for a raw deployment "
        "(v0.16.0 not even "
        "with RawDeployment).",
        "Set the annotation serving.kserve.io/deploymentMode to RawDeployment, for v0.16.0 to Standard.",
        "the running controllers of v0.15.0 to v0.20.0",
    ),
    _Words(
        "both StorageURI and StorageURIs",
        "storage-twice",
        "KServe refuses storageUri beside storageUris.",
        "Keep storageUri.",
        holds=lambda release: release.knows_storage_uris,
    ),
    _Words(
        "must not set workerSpec|canary",
        "canary",
        "KServe refuses a canary with a workerSpec, or one that is not whole.",
        "Deploy a second InferenceService instead of a canary.",
        holds=lambda release: release.knows_variants,
    ),
    _Words(
        "priorit",
        "runtime-priority",
        "KServe refuses a ServingRuntime that has the priority of another one for the same model format.",
        "Give it another priority, or set autoSelect to false.",
    ),
    _Words(
        "removing workerSpec",
        "worker-spec-removed",
        "KServe refuses an update that takes the workerSpec away from a ServingRuntime.",
        "Give the single-node runtime another name.",
    ),
    _Words("", _OTHER, "KServe's webhook refuses it.", "Change what it names."),
)


def _id_of(refusal: Refusal) -> str:
    """The rule that a webhook's words belong to."""
    return next(one.id for one in _WORDS if re.search(one.words, refusal.message))


def _refusals(case: Case) -> list[Refusal]:
    """What the webhook of that version says of the document, worked out once."""
    kept = case.kept.get("refusals")
    if isinstance(kept, list):
        return kept
    found: list[Refusal] = []
    if case.shaped and case.document.kind == "InferenceService":
        found = refusals_of_service(defaulting.defaulted(case.body, case.release), case.release)
    elif case.shaped:
        before = []
        for other in case.runtimes:
            if other is case.document:
                break
            if (other.kind, other.namespace) == (case.document.kind, case.document.namespace):
                before.append(other.body)
        found = refusals_of_runtime(case.body, case.release, before)
    case.kept["refusals"] = found
    return found


def _check(rule: str, case: Case) -> Iterator[Found]:
    told: set[Path] = set()
    for refusal in _refusals(case):
        # Of two objections to one field a user is told the first.
        if _id_of(refusal) == rule and refusal.path not in told:
            told.add(refusal.path)
            said = refusal.message.rstrip(".").removesuffix(" in namespace")
            yield Found(
                refusal.path, f"KServe refuses it: {said}.", _hint(rule, case), _fix(rule, case, refusal)
            )


def _hint(rule: str, case: Case) -> str:
    """The hint where it depends on the version; empty: the rule's own."""
    if rule == "autoscaler-class":
        return f"Set the annotation {names.AUTOSCALER_CLASS} to {case.release.autoscaler_class}."
    if rule == "strategy-mode":
        return f"Set the annotation {names.DEPLOYMENT_MODE} to {case.release.mode_to_write}."
    return ""


def _fix(rule: str, case: Case, refusal: Refusal) -> tuple[Edit, ...]:
    """The edits that fix it without a guess."""
    annotations: Path = ("metadata", "annotations")
    if rule == "autoscaler-class":
        return (Edit((*annotations, names.AUTOSCALER_CLASS), case.release.autoscaler_class),)
    if rule == "strategy-mode" and at(case.body, *annotations, names.DEPLOYMENT_MODE) in (
        "RawDeployment",
        "Standard",
    ):
        return (Edit((*annotations, names.DEPLOYMENT_MODE), case.release.mode_to_write),)
    if rule == "replica-bounds" and refusal.path[-1] == "maxReplicas":
        least = number(case.body, *PREDICTOR, "minReplicas")
        most = number(case.body, *PREDICTOR, "maxReplicas")
        if least == 1 and most is not None and most < 0:
            return (Edit((*PREDICTOR, "maxReplicas"), 1),)
    return ()


def _same_sizes(case: Case) -> Iterator[Found]:
    """TENSOR_PARALLEL_SIZE on a worker container, which no webhook looks at."""
    for container in case.containers:
        if container.role != "worker":
            continue
        for index, entry in enumerate(listed(container.body, "env")):
            name = at(entry, "name")
            if name in (env.TENSOR_PARALLEL_SIZE, env.PIPELINE_PARALLEL_SIZE):
                what = f"{name} on the worker container stands beside KServe's own variable, and may win."
                yield Found((*container.path, "env", index), what)


RULES: Final = (
    *(
        Rule(
            one.id,
            "refused",
            one.message,
            one.hint,
            one.seen,
            functools.partial(_check, one.id),
            _KINDS,
            one.holds,
        )
        for one in _WORDS
    ),
    Rule(
        "worker-size-variables",
        "risk",
        "TENSOR_PARALLEL_SIZE or PIPELINE_PARALLEL_SIZE on the worker container is accepted and "
        "stands beside "
        "KServe's own.",
        "Remove it.",
        "the running controllers of v0.15.0 to v0.20.0",
        _same_sizes,
        _KINDS,
    ),
)
