"""What a component adds, a spec can say: the same kinds of objects, and the same fields of the service."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from manifests.folders import Object, build, components, walk
from manifests.leaf import leaf
from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.spec import loads

LEAST = "name: vllm\nparallelism: {tensor: 2, pipeline: 2}\n"
CLAIM = "model: {claim: models, path: model}\n"
RDMA = (
    "serviceAccountName: vllm-rdma\nnetwork: {attachments: [net], rdma: {resource: %s, ipcLock: true, env: "
    "{NCCL_IB_HCA: mlx5, NCCL_SOCKET_IFNAME: eth0, NCCL_DEBUG: INFO, NCCL_DEBUG_SUBSYS: INIT}}}\n"
)
TOLERATION = "placement: {tolerations: [{key: %s, operator: Exists, effect: NoSchedule}]}\n"
# What a spec says for each; the release that it is rendered for says the rest.
SAID = {
    "amd": "accelerator: {type: amd}\n" + TOLERATION % "amd.com/gpu",
    "api-key": "apiKeySecret: vllm-api-key\n",
    "argocd": "annotations: {argocd.argoproj.io/sync-wave: 1}\n",
    "cpu": "accelerator: {type: none}\n",
    "gateway": "publish: gateway\n",
    "gaudi": "accelerator: {type: gaudi}\n" + TOLERATION % "habana.ai/gaudi",
    "ingress": "publish: ingress\n",
    "intel": "accelerator: {type: intel}\n" + TOLERATION % "gpu.intel.com/i915",
    "model": "model: {source: hf://org/model, size: 10Gi}\n",
    "monitoring": "monitoring: true\n",
    "network-policy": "network: {policy: true}\n",
    "nvidia": TOLERATION % "nvidia.com/gpu",
    "pdb": "disruptionBudget: true\n",
    "port-range": "network: {portRange: [40000, 44999]}\n",
    "priority": "placement: {priorityClassName: vllm-multinode}\n",
    "queue": "queue: default\n",
    "rdma": RDMA % "rdma/rdma_shared_device_ib",
    "rdma-sriov": RDMA % "openshift.io/rdma",
    "replicas": "replicas: 2\n",
    "route": "publish: route\n",
    "route-reencrypt": "publish: {via: route, reencrypt: true}\n",
    "shared-memory": "sharedMemory: 64Gi\n",
}
# `--platform` says it, or OpenShift AI's dashboard alone reads it.
BY_RELEASE = {"kserve-0.15.0", "kserve-0.16.0", "openshift", "openshift-ai"}
# The cluster's own: a class of priorities, an account with rights that an administrator gives.
OF_THE_CLUSTER = {"PriorityClass", "ServiceAccount", "Role", "RoleBinding"}


def kinds(objects: Iterable[Object]) -> set[str]:
    return {one["kind"] for one in objects} - OF_THE_CLUSTER


def fields(objects: Iterable[Object]) -> set[tuple[str, ...]]:
    """Fields of the services, without the numbers of list items: resources and annotations by name."""
    return {
        tuple(step for step in path if isinstance(step, str))
        for one in objects
        if one["kind"] == "InferenceService"
        for path, _ in walk(one["spec"])
    }


def test_every_component_has_its_words() -> None:
    names = {folder.name for folder in components()} - {"kserve-fields", "one-service"} - BY_RELEASE
    assert names == SAID.keys()


@pytest.mark.parametrize("component", SAID)
def test_a_spec_says_what_the_component_adds(component: str, tmp_path: Path) -> None:
    said = SAID[component]
    spec = loads(LEAST + ("" if "model:" in said else CLAIM) + said)
    rendered = render(spec).documents
    before, after = build(leaf(tmp_path / "before")), build(leaf(tmp_path / "after", component))
    assert kinds(after) - kinds(before) <= kinds(rendered)
    assert fields(after) - fields(before) <= fields(rendered)
