"""Kueue: a group's pods are admitted together or not at all.

KServe copies labels and annotations of an InferenceService to its Deployments and pods, so they stand there.
"""

from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.platforms import kueue


def group_labels(spec: DeploymentSpec, name: str) -> dict[str, str]:
    """Of an InferenceService: its queue, and its pods' group."""
    return {} if spec.queue is None else {kueue.QUEUE: spec.queue, kueue.GROUP: name}


def group_annotations(spec: DeploymentSpec) -> dict[str, str]:
    """Of an InferenceService: how many pods a group has, and that they do not end."""
    return {} if spec.queue is None else {kueue.GROUP_SIZE: str(spec.nodes), kueue.SERVING: "true"}


def set_labels(spec: DeploymentSpec) -> dict[str, str]:
    """Of a LeaderWorkerSet, whose groups Kueue knows."""
    return {} if spec.queue is None else {kueue.QUEUE: spec.queue}
