"""A preview as plain data, for `-o json`."""

from typing import Any

from vllm_multinode.authoring.preview import Preview
from vllm_multinode.authoring.preview.update import Update
from vllm_multinode.authoring.render.router import heads_of
from vllm_multinode.authoring.report import as_object as finding_object
from vllm_multinode.k8s.access import at, text
from vllm_multinode.platforms.simulation import Body, Group


def as_object(found: Preview) -> dict[str, Any]:
    """The preview as plain data, for `-o json`."""
    return {
        "release": found.release.name,
        "remark": found.release.remark,
        "serves": found.serves,
        "groups": [_group_object(group) for group in found.groups],
        "routers": [_router_object(router) for router in found.routers],
        "findings": [finding_object(finding) for finding in found.findings],
        "notes": list(found.notes),
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


def _router_object(router: Body) -> dict[str, Any]:
    return {
        "name": text(router, "metadata", "name"),
        "pods": at(router, "spec", "replicas") or 1,
        "heads": list(heads_of(router)),
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
