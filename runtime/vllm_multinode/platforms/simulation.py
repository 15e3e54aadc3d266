"""What a simulated control plane yields: groups, roles, objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_multinode.contract.finding import Finding
from vllm_multinode.platforms.releases import Release

Body = dict[str, Any]


@dataclass(frozen=True)
class Role:
    """Head or workers of a group.

    Attributes:
        role: "head" or "worker".
        deployment: name of the Deployment (or LeaderWorkerSet) that its pods belong to.
        replicas: pods.
        gpus: accelerators of each pod.
        resource: the resource they are asked for under.
        container: name of its main container.
        pod: its pods' spec, after KServe's pod webhook.
        refused: why no such pod can be created, at the InferenceService's fields; empty where it can.
    """

    role: str
    deployment: str
    replicas: int
    gpus: int
    resource: str
    container: str
    pod: Mapping[str, Any] = field(repr=False)
    refused: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Group:
    """One InferenceService (or LeaderWorkerSet) and the nodes that its engine spreads over.

    Attributes:
        kind: of the object that it comes from.
        name: of that object.
        namespace: as written; empty where it names none.
        runtime: the ServingRuntime it is laid over; empty for a LeaderWorkerSet.
        executor: "ray" or "mp", as KServe sees it; empty where it does not choose.
        tensor_parallel: TP, 0 where KServe has none.
        pipeline_parallel: PP, 0 where KServe has none.
        generation: metadata.generation that the names are made for.
        nodes: head included; the group's share for a LeaderWorkerSet.
        replicas: of the whole group; 1 for an InferenceService.
        roles: head first.
        strategy: of the head's Deployment: "RollingUpdate" or "Recreate".
        objects: what is made, Pods last.
        refused: why the API server rejects the next object, at which the controller stops; at the
            InferenceService's fields.
    """

    kind: str
    name: str
    namespace: str
    runtime: str
    executor: str
    tensor_parallel: int
    pipeline_parallel: int
    generation: int
    nodes: int
    replicas: int
    roles: tuple[Role, ...]
    strategy: str
    objects: tuple[Body, ...] = field(repr=False)
    refused: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Simulation:
    """What one release makes of some ServingRuntimes and InferenceServices.

    Attributes:
        release: of KServe or OpenShift AI.
        groups: one for each InferenceService that leads to pods, in the order of the input.
        findings: by the place of an object in the input: what is rejected, never serves, is overwritten or
            left out, each with its rule.
        notes: what is not shown, and what holds for every service of this release; a sentence each.
    """

    release: Release
    groups: tuple[Group, ...] = ()
    findings: Mapping[int, tuple[Finding, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def objects(self) -> list[Body]:
        """What is made: Deployments, Services, autoscalers, ConfigMaps and one Pod of each role."""
        return [made for group in self.groups for made in group.objects]
