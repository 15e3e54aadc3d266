"""Kueue: whether a group's pods are admitted together."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules.rule import Case, Rule
from vllm_multinode.contract.finding import Finding
from vllm_multinode.k8s.access import text
from vllm_multinode.platforms import kueue
from vllm_multinode.platforms.kserve.nodes import Layout

_LABELS: Final = ("metadata", "labels")
_ANNOTATIONS: Final = ("metadata", "annotations")
_SEEN: Final = "Kueue's Deployment and pod webhooks"


def _is_queued(case: Case) -> bool:
    return case.multi_node and bool(text(case.body, *_LABELS, kueue.QUEUE))


def _alone(case: Case) -> Iterator[Finding]:
    if _is_queued(case) and not text(case.body, *_LABELS, kueue.GROUP):
        yield Finding((*_LABELS, kueue.QUEUE))


def _count(case: Case) -> Iterator[Finding]:
    if not _is_queued(case) or not text(case.body, *_LABELS, kueue.GROUP):
        return
    given, made = text(case.body, *_ANNOTATIONS, kueue.GROUP_SIZE), case.layout
    if not isinstance(made, Layout) or given == str(made.nodes):
        return
    what = (
        f"Kueue waits for {given or 'no number of'} pods, but KServe creates {made.nodes}: none is admitted."
    )
    yield Finding((*_ANNOTATIONS, kueue.GROUP_SIZE) if given else (*_LABELS, kueue.GROUP), what)


RULES: Final = (
    Rule(
        id="queue-group-size",
        severity="stalls",
        message="Kueue waits for a different number of pods than KServe creates, and admits none.",
        hint=f"Write the number of nodes, the head included, as the annotation {kueue.GROUP_SIZE}.",
        seen=_SEEN,
        check=_count,
    ),
    Rule(
        id="queue-alone",
        severity="risk",
        message="Kueue admits each pod separately: two groups can each hold part of the nodes and wait.",
        hint=f"Add the label {kueue.GROUP} and the annotation {kueue.GROUP_SIZE}, as `queue` in a spec does.",
        seen=_SEEN,
        check=_alone,
    ),
)
