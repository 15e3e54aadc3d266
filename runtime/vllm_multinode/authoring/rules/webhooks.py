"""What KServe's webhooks reject; `platforms.kserve.admission` finds it."""

from collections.abc import Callable, Iterator
from typing import Final

from vllm_multinode.authoring.rules.rule import RUNTIMES, Case, Rule, every, simulated
from vllm_multinode.contract import env
from vllm_multinode.contract.finding import Finding
from vllm_multinode.k8s.access import at, listed
from vllm_multinode.platforms.releases import Release

_KINDS: Final = ("InferenceService", *RUNTIMES)
_SEEN: Final = "KServe's webhook"


def _refused(
    *, name: str, message: str, hint: str, seen: str = _SEEN, holds: Callable[[Release], bool] = every
) -> Rule:
    return Rule(
        id=name,
        severity="refused",
        message=message,
        hint=hint,
        seen=seen,
        check=simulated(name),
        kinds=_KINDS,
        holds=holds,
    )


def _same_sizes(case: Case) -> Iterator[Finding]:
    """TENSOR_PARALLEL_SIZE on a worker container, which no webhook looks at."""
    for container in case.containers:
        if container.role != "worker":
            continue
        for index, entry in enumerate(listed(container.body, "env")):
            name = at(entry, "name")
            if name in (env.TENSOR_PARALLEL_SIZE, env.PIPELINE_PARALLEL_SIZE):
                message = (
                    f"{name} on the worker container exists next to KServe's own variable, and may "
                    "override it."
                )
                yield Finding((*container.path, "env", index), message)


RULES: Final = (
    _refused(
        name="service-name",
        message="KServe rejects the name: it must match [a-z]([-a-z0-9]*[a-z0-9])?.",
        hint="Begin with a letter; use lower-case letters, digits and dashes.",
    ),
    _refused(
        name="autoscaler-class",
        message=(
            "KServe rejects a multi-node service whose autoscaler class is not the "
            "one that its release expects."
        ),
        hint=(
            "Set the annotation serving.kserve.io/autoscalerClass to none; to external up to KServe v0.15.0 "
            "and OpenShift AI 2.22."
        ),
        seen="recorded: reject-autoscaler-hpa",
    ),
    _refused(
        name="python-path",
        message="KServe rejects the environment variable PYTHONPATH from v0.18 on.",
        hint="Add the modules to the image.",
        holds=lambda release: release.refuses_python_path,
    ),
    _refused(
        name="worker-containers",
        message="KServe rejects more than one worker container.",
        hint="Keep worker-container.",
    ),
    _refused(
        name="size-variables",
        message="KServe sets TENSOR_PARALLEL_SIZE and PIPELINE_PARALLEL_SIZE, and rejects them as variables.",
        hint="Set tensorParallelSize and pipelineParallelSize in workerSpec.",
        seen="recorded: reject-env-tp",
    ),
    _refused(
        name="gpu-type-unknown",
        message=(
            "KServe rejects a resource that it considers an unknown GPU: all except CPU, memory, storage and "
            "its four GPU types, also rdma/hca and huge pages."
        ),
        hint=(
            "Add it to the annotation serving.kserve.io/gpu-resource-types, a JSON list: of the "
            "InferenceService, and of the ServingRuntime's spec."
        ),
        seen="recorded: reject-unknown-gpu",
    ),
    _refused(
        name="gpu-types-annotation",
        message=(
            "KServe rejects the annotation serving.kserve.io/gpu-resource-types: it is not a "
            "JSON list of names."
        ),
        hint='Write it as ["nvidia.com/mig-3g.40gb"].',
    ),
    _refused(
        name="storage-missing",
        message="KServe rejects a multi-node service without a storageUri.",
        hint="Set spec.predictor.model.storageUri to pvc://<claim>/<path>.",
        seen="recorded: reject-no-storage",
    ),
    _refused(
        name="storage-scheme",
        message=(
            "KServe rejects that scheme of storageUri: multi-node takes pvc, and oci from KServe v0.16 and "
            "OpenShift AI 2.22 on."
        ),
        hint="Copy the model to a claim and use pvc://<claim>/<path>.",
        seen="recorded: reject-s3",
    ),
    _refused(
        name="pipeline-size",
        message=(
            "KServe rejects a pipelineParallelSize below 1; v0.15.0 and OpenShift AI up to 2.22 one below 2."
        ),
        hint="Raise pipelineParallelSize.",
    ),
    _refused(
        name="tensor-size",
        message="KServe rejects a tensorParallelSize below 1.",
        hint="Set tensorParallelSize to 1 or more.",
        seen="recorded: reject-tp0",
    ),
    _refused(
        name="runtime-sizes",
        message="KServe v0.15.0 rejects a ServingRuntime whose workerSpec does not set both sizes.",
        hint="Set tensorParallelSize and pipelineParallelSize in its workerSpec.",
        holds=lambda release: release.knows_worker_spec and release.runtime_must_name_sizes,
    ),
    _refused(
        name="model-name",
        message="KServe rejects a name inside spec.predictor.model from v0.16 on.",
        hint="Remove it; clients use the InferenceService's name.",
        holds=lambda release: release.knows_storage_uris,
    ),
    _refused(
        name="one-implementation",
        message="KServe rejects a predictor that does not have exactly one implementation.",
        hint="Keep spec.predictor.model alone.",
    ),
    _refused(
        name="replica-bounds",
        message="KServe rejects replicas below 0, and a minReplicas above maxReplicas.",
        hint="Set both to 1.",
    ),
    _refused(
        name="strategy-mode",
        message=(
            "KServe rejects deploymentStrategy: it does not treat the service as a raw deployment (v0.16.0 "
            "not even with RawDeployment)."
        ),
        hint="Set the annotation serving.kserve.io/deploymentMode to RawDeployment, for v0.16.0 to Standard.",
        seen="the running controllers of v0.15.0 to v0.20.0",
    ),
    _refused(
        name="storage-twice",
        message="KServe rejects storageUri together with storageUris.",
        hint="Keep storageUri.",
        holds=lambda release: release.knows_storage_uris,
    ),
    _refused(
        name="canary",
        message="KServe rejects a canary with a workerSpec, or an incomplete one.",
        hint="Deploy a second InferenceService instead of a canary.",
        holds=lambda release: release.knows_variants,
    ),
    _refused(
        name="runtime-priority",
        message=(
            "KServe rejects a ServingRuntime that has the priority of another one for the same model format."
        ),
        hint="Give it another priority, or set autoSelect to false.",
    ),
    _refused(
        name="worker-spec-removed",
        message="KServe rejects an update that removes the workerSpec from a ServingRuntime.",
        hint="Give the single-node runtime another name.",
    ),
    _refused(
        name="webhook-refuses",
        message="KServe's webhook rejects it.",
        hint="Change the field in the message.",
    ),
    Rule(
        id="worker-size-variables",
        severity="risk",
        message=(
            "TENSOR_PARALLEL_SIZE or PIPELINE_PARALLEL_SIZE on the worker container is accepted and exists "
            "next to KServe's own."
        ),
        hint="Remove it.",
        seen="the running controllers of v0.15.0 to v0.20.0",
        check=_same_sizes,
        kinds=_KINDS,
    ),
)
