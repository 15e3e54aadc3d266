"""Fields that are accepted and have no effect, or another one than is meant, on a group of nodes."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules.rule import PREDICTOR, WORKER_SPEC, Case, Rule
from vllm_multinode.contract.finding import Finding, Path
from vllm_multinode.k8s.access import at, mapping, number
from vllm_multinode.platforms import names

_METRICS: Final = ("autoScaling", "scaleMetric", "scaleMetricType", "scaleTarget")


def _scaling(case: Case) -> Iterator[Finding]:
    if not case.multi_node:
        return
    least, most = (number(case.body, *PREDICTOR, name) for name in ("minReplicas", "maxReplicas"))
    if most is not None and most > max(least or 1, 1):
        what = f"maxReplicas {most} has no effect: nothing scales a service over several nodes."
        yield Finding((*PREDICTOR, "maxReplicas"), what)
    for name in _METRICS:
        if at(case.body, *PREDICTOR, name) is not None:
            yield Finding(
                (*PREDICTOR, name), f"{name} has no effect: nothing scales a service over several nodes."
            )


def _pod_resources(case: Case) -> Iterator[Finding]:
    if not case.multi_node:
        return
    for pod in (PREDICTOR, WORKER_SPEC):
        given = at(case.body, *pod, "resources")
        if not given:
            continue
        path: Path = (*pod, "resources")
        gpus = [
            name
            for part in ("limits", "requests")
            for name in mapping(given, part)
            if name in names.GPU_RESOURCES
        ]
        what = "resources of the pod are not those of its container: KServe counts only containers' GPUs."
        if gpus:
            what = (
                f"{gpus[0]} is under the pod's resources: KServe counts only containers, and Kubernetes "
                "drops it up to 1.33 and rejects the pod from 1.34 on."
            )
        yield Finding(path, what)


RULES: Final = (
    Rule(
        id="scaling-ignored",
        severity="advice",
        message="maxReplicas and metrics have no effect: nothing scales a service over several nodes.",
        hint="Leave them out; for more replicas use several InferenceServices behind one Service.",
        seen="KServe's autoscaler class for several nodes",
        check=_scaling,
    ),
    Rule(
        id="pod-resources",
        severity="risk",
        message=(
            "Resources under spec.predictor or workerSpec are the pod's, and KServe counts only containers."
        ),
        hint="Write them into spec.predictor.model.resources and into workerSpec.containers[0].resources.",
        seen="KServe's controllers; Kubernetes 1.34",
        check=_pod_resources,
    ),
)
