"""What OpenShift AI adds to a service, and what cannot be known from the files there."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules.rule import Case, Rule, simulated
from vllm_multinode.contract.finding import Finding, Path
from vllm_multinode.k8s.access import text
from vllm_multinode.platforms import names
from vllm_multinode.platforms.releases import Release


def _of_openshift_ai(release: Release) -> bool:
    return release.product == "openshift-ai"


def _hardware_profile(case: Case) -> Iterator[Finding]:
    path: Path = ("metadata", "annotations", names.HARDWARE_PROFILE)
    profile = text(case.body, *path)
    if case.multi_node and profile:
        message = (
            f"a webhook fills in the head's resources from the hardware profile {profile}: how many GPUs "
            "and nodes come of "
            "it is not known from the files, and the workers get none of it."
        )
        yield Finding(path, message)


RULES: Final = (
    Rule(
        id="hardware-profile",
        severity="risk",
        message=(
            "A hardware profile fills in the head's resources, so that nodes and GPUs are not known from "
            "the files."
        ),
        hint=(
            "Write the GPUs of a node under requests and limits of both containers, and leave the "
            "profile out."
        ),
        seen="OpenShift AI's hardware profile webhook",
        check=_hardware_profile,
        holds=_of_openshift_ai,
    ),
    Rule(
        id="auth-proxy",
        severity="advice",
        message="OpenShift AI adds a proxy container and port 8443 to the head, and clients are sent there.",
        hint="Let clients and network policies use port 8443, with a token.",
        seen="recorded: OpenShift AI 2.17 to 3.5",
        check=simulated("auth-proxy"),
        holds=_of_openshift_ai,
    ),
)
