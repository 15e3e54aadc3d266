"""The part of admission that looks at replicas, autoscaling and the deployment strategy."""

from collections.abc import Iterator, Mapping
from typing import Any

from vllm_multinode.contract.finding import Edit, Finding, Path
from vllm_multinode.platforms import names
from vllm_multinode.platforms.releases import Release

_PREDICTOR: Path = ("spec", "predictor")
_HPA_CLASS = "hpa.autoscaling.knative.dev"
OTHER = "webhook-refuses"
"""The rule of what has none of its own."""


def replicas(predictor: Mapping[str, Any]) -> Iterator[Finding]:
    """Objections to minReplicas, maxReplicas, containerConcurrency and the logger's mode."""
    concurrency = predictor.get("containerConcurrency")
    if concurrency is not None and concurrency < 0:
        yield _finding("parallelism cannot be less than 0", "containerConcurrency")
    least = predictor.get("minReplicas")
    least = 1 if least is None else least
    most = predictor.get("maxReplicas") or 0
    if least < 0:
        yield _finding("'MinReplicas' cannot be less than 0", "minReplicas", "replica-bounds")
    if most < 0:
        path: Path = (*_PREDICTOR, "maxReplicas")
        fix = (Edit(path, 1),) if least == 1 else ()
        yield Finding(path, "'MaxReplicas' cannot be less than 0", fix=fix, rule="replica-bounds")
    if least > most != 0:
        yield _finding("'MinReplicas' cannot be greater than MaxReplicas", "maxReplicas", "replica-bounds")
    logger = predictor.get("logger")
    if logger is not None and logger.get("mode") not in ("all", "request", "response"):
        yield _finding("invalid logger type", "logger")


def scaling(
    predictor: Mapping[str, Any], annotations: Mapping[str, str], release: Release
) -> Iterator[Finding]:
    """Objections that depend on whether KServe takes the service for a raw one (Standard, RawDeployment)."""
    mode = annotations.get(names.DEPLOYMENT_MODE, "")
    knative_hpa = annotations.get(names.KNATIVE_CLASS) == _HPA_CLASS
    if not release.checks_scaling_by_class:
        check_hpa = mode == release.raw_mode or knative_hpa
    elif mode == release.raw_mode:
        if annotations.get(names.AUTOSCALER_CLASS) == "hpa":
            yield from _hpa(predictor)
        return
    else:
        check_hpa = knative_hpa
    yield from _hpa(predictor) if check_hpa else _knative(predictor, annotations, release)


def _hpa(predictor: Mapping[str, Any]) -> Iterator[Finding]:
    metric = predictor.get("scaleMetric", "cpu")
    if metric not in ("cpu", "memory"):
        yield _finding(f"[{metric}] is not a supported metric", "scaleMetric")
    target = predictor.get("scaleTarget")
    if target is not None and ((metric == "cpu" and target < 1) or target > 100):
        yield _finding("the target utilization percentage should be a [1-100] integer", "scaleTarget")


def _knative(
    predictor: Mapping[str, Any], annotations: Mapping[str, str], release: Release
) -> Iterator[Finding]:
    if predictor.get("deploymentStrategy") is not None:
        message = "customizing deploymentStrategy is only supported for raw deployment mode"
        path: Path = ("metadata", "annotations", names.DEPLOYMENT_MODE)
        is_raw = annotations.get(names.DEPLOYMENT_MODE) in ("RawDeployment", "Standard")
        fix = (Edit(path, release.mode_to_write),) if is_raw else ()
        hint = f"Set the annotation {names.DEPLOYMENT_MODE} to {release.mode_to_write}."
        yield Finding((*_PREDICTOR, "deploymentStrategy"), message, hint, fix, rule="strategy-mode")
    metric = predictor.get("scaleMetric", "concurrency")
    if metric not in ("concurrency", "rps"):
        yield _finding(f"[{metric}] is not a supported metric", "scaleMetric")


def _finding(message: str, field: str, rule: str = OTHER) -> Finding:
    return Finding((*_PREDICTOR, field), message, rule=rule)
