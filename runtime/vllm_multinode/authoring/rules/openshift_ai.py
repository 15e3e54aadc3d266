"""What only OpenShift AI's controllers, webhooks and runtimes do; `platforms.kserve` finds most of it."""

from collections.abc import Callable, Iterator
from typing import Final

from vllm_multinode.authoring.rules.rule import Case, Rule, simulated
from vllm_multinode.contract.finding import Finding, Path, Severity
from vllm_multinode.k8s.access import text
from vllm_multinode.platforms import names
from vllm_multinode.platforms.releases import Release


def _hardware_profile(case: Case) -> Iterator[Finding]:
    path: Path = ("metadata", "annotations", names.HARDWARE_PROFILE)
    profile = text(case.body, *path)
    if case.multi_node and profile:
        message = (
            f"a webhook fills in the head's resources from the hardware profile {profile}: the files do "
            "not show how many GPUs and nodes result, and the workers get none."
        )
        yield Finding(path, message)


def _rule(
    *,
    name: str,
    message: str,
    hint: str,
    holds: Callable[[Release], bool],
    severity: Severity = "stalls",
    seen: str = "odh-model-controller, by release",
) -> Rule:
    return Rule(
        id=name, severity=severity, message=message, hint=hint, seen=seen, check=simulated(name), holds=holds
    )


RULES: Final = (
    _rule(
        name="ray-certificate-name",
        message=(
            "OpenShift AI creates the Secret ray-tls only for a ServingRuntime named vllm-multinode-runtime: "
            "with RAY_USE_TLS the pods of every other one wait indefinitely for a certificate."
        ),
        hint="Name the ServingRuntime vllm-multinode-runtime, or set RAY_USE_TLS to 0 on head and workers.",
        holds=lambda release: release.issues_ray_certificates == "one-name",
    ),
    _rule(
        name="ray-certificate-variable",
        message=(
            "OpenShift AI looks for RAY_USE_TLS only in the first variable of a pod: if "
            "another comes first, no certificate is issued, and the pod stays in Init (RHOAIENG-31808)."
        ),
        hint="Put RAY_USE_TLS first in env, also in the InferenceService, because its variables come first.",
        holds=lambda release: release.reads_first_variable_only,
    ),
    _rule(
        name="head-counts-stages",
        message=(
            "The head waits until Ray counts PIPELINE_PARALLEL_SIZE nodes, and KServe creates another "
            "number: the engine never starts."
        ),
        hint="Request TP GPUs on head and worker, so that there are PP nodes.",
        seen="vllm-multinode-runtime of OpenShift AI 2.16 to 3.3",
        holds=lambda release: release.counts_nodes_by_gpu_requests,
    ),
    _rule(
        name="gpu-types-panic",
        message=(
            "The annotation serving.kserve.io/gpu-resource-types makes the controller panic "
            "if the ServingRuntime's workerSpec has no annotations, and nothing is created."
        ),
        hint="Remove the annotation, which has no effect there, or give the workerSpec any annotation.",
        seen="red-hat-data-services/kserve, rhoai-2.16 to rhoai-2.22",
        holds=lambda release: release.panics_over_gpu_types,
    ),
    Rule(
        id="hardware-profile",
        severity="risk",
        message=(
            "A hardware profile fills in the head's resources, so the files do not show the nodes and GPUs."
        ),
        hint=(
            "Write the GPUs of a node under requests and limits of both containers, and leave the "
            "profile out."
        ),
        seen="OpenShift AI's hardware profile webhook",
        check=_hardware_profile,
        holds=lambda release: release.fills_in_hardware_profiles,
    ),
    Rule(
        id="auth-proxy",
        severity="advice",
        message="OpenShift AI adds a proxy container and port 8443 to the head.",
        hint="Where security.opendatahub.io/enable-auth is true, let clients use port 8443, with a token.",
        seen="recorded: OpenShift AI 2.17 to 3.5",
        check=simulated("auth-proxy"),
        holds=lambda release: bool(release.auth_proxy),
    ),
)
