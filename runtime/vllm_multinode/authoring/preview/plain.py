"""A preview as plain data, for `-o json`."""

from typing import Any

from vllm_multinode.authoring.preview.update import Update
from vllm_multinode.platforms.model import Finding, Group, Preview


def as_object(found: Preview) -> dict[str, Any]:
    """The preview as plain data, for `-o json`."""
    return {
        "release": found.release.name,
        "remark": found.release.remark,
        "serves": found.serves,
        "groups": [_group_object(group) for group in found.groups],
        "refusals": [_finding_object(one) for one in found.refusals],
        "stalls": [_finding_object(one) for one in found.stalls],
        "warnings": [_finding_object(one) for one in found.warnings],
        "objects": found.objects,
    }


def update_object(one: Update) -> dict[str, Any]:
    """An update as plain data, for `-o json`."""
    return {
        "kind": one.kind,
        "name": one.name,
        "what": one.what,
        "generations": list(one.generations),
        "gpus": list(one.gpus),
        "moreGpus": one.more_gpus,
        "rollouts": [rollout._asdict() for rollout in one.rollouts],
        "differences": [difference._asdict() for difference in one.differences],
    }


def _finding_object(one: Finding) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "name": one.name,
        "namespace": one.namespace,
        "path": ".".join(str(part) for part in one.path),
        "text": one.text,
    }


def _group_object(group: Group) -> dict[str, Any]:
    return {
        "kind": group.kind,
        "name": group.name,
        "namespace": group.namespace,
        "runtime": group.runtime,
        "executor": group.executor,
        "tensorParallel": group.tensor_parallel,
        "pipelineParallel": group.pipeline_parallel,
        "generation": group.generation,
        "nodes": group.nodes,
        "replicas": group.replicas,
        "strategy": group.strategy,
        "roles": [
            {
                "role": role.role,
                "name": role.deployment,
                "pods": role.replicas,
                "gpus": role.gpus,
                "resource": role.resource,
                "container": role.container,
            }
            for role in group.roles
        ],
    }
