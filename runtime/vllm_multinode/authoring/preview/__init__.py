"""What a release makes of manifests and what `validate` says of them, told without a cluster.

preview(bodies, "0.18.1").objects
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_multinode.authoring.render.router import is_router
from vllm_multinode.authoring.rules import judge
from vllm_multinode.contract.finding import Finding
from vllm_multinode.k8s.documents import Document
from vllm_multinode.platforms.releases import Release, find
from vllm_multinode.platforms.simulation import Body, Group, Role

__all__ = ["Group", "Preview", "Role", "preview", "preview_documents"]


@dataclass(frozen=True)
class Preview:
    """What one release makes of some objects.

    Attributes:
        release: of KServe or OpenShift AI.
        groups: one for each InferenceService that leads to pods, in the order of the input.
        findings: what `multinode validate` says of the objects for this release.
        routers: Deployments of the router before several groups, which are applied beside the services.
        notes: what is not shown, and what holds for every service of this release.
    """

    release: Release
    groups: tuple[Group, ...] = ()
    findings: tuple[Finding, ...] = field(default=(), repr=False)
    routers: tuple[Body, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    @property
    def objects(self) -> list[Body]:
        """What is made: Deployments, Services, autoscalers, ConfigMaps and one Pod of each role."""
        return [body for group in self.groups for body in group.objects]

    @property
    def serves(self) -> bool:
        """Nothing is rejected and nothing stalls."""
        return not any(finding.blocks for finding in self.findings)

    def of(self, severity: str) -> list[Finding]:
        """The findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]


def preview_documents(documents: Sequence[Document], release: Release, generation: int = 1) -> Preview:
    """What a release makes of documents.

    Args:
        documents: in the order in which they are applied; kinds that are not read are passed over.
        release: of KServe or OpenShift AI.
        generation: metadata.generation of the InferenceServices, which their Services are named after.
    """
    findings, simulation = judge(documents, release, generation=generation)
    routers = tuple(one.body for one in documents if is_router(one.body))
    return Preview(release, simulation.groups, tuple(findings), routers, simulation.notes)


def preview(bodies: Sequence[Mapping[str, Any]], platform: str | Release, *, generation: int = 1) -> Preview:
    """The same of plain data.

    Args:
        bodies: objects, in the order in which they are applied.
        platform: kserve-0.19.0, openshift-ai-2.25, or KServe's number alone.
        generation: as `preview_documents`'s.

    Raises:
        MultinodeError: an unknown release.
    """
    documents = [
        Document("-", place, dict(body))
        for place, body in enumerate(bodies)
        if isinstance(body.get("kind"), str)
    ]
    return preview_documents(documents, find(platform) if isinstance(platform, str) else platform, generation)
