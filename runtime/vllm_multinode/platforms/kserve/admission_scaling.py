"""The part of admission that looks at replicas, autoscaling and the deployment strategy."""

from collections.abc import Iterator, Mapping
from typing import Any

from vllm_multinode.platforms import names
from vllm_multinode.platforms.model import Path
from vllm_multinode.platforms.releases import Release

_PREDICTOR: Path = ("spec", "predictor")
_HPA_CLASS = "hpa.autoscaling.knative.dev"


def replicas(predictor: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Objections to minReplicas, maxReplicas, containerConcurrency and the logger's mode."""
    concurrency = predictor.get("containerConcurrency")
    if concurrency is not None and concurrency < 0:
        yield "parallelism cannot be less than 0", (*_PREDICTOR, "containerConcurrency")
    least = predictor.get("minReplicas")
    least = 1 if least is None else least
    most = predictor.get("maxReplicas") or 0
    if least < 0:
        yield "'MinReplicas' cannot be less than 0", (*_PREDICTOR, "minReplicas")
    if most < 0:
        yield "'MaxReplicas' cannot be less than 0", (*_PREDICTOR, "maxReplicas")
    if least > most != 0:
        yield "'MinReplicas' cannot be greater than MaxReplicas", (*_PREDICTOR, "maxReplicas")
    logger = predictor.get("logger")
    if logger is not None and logger.get("mode") not in ("all", "request", "response"):
        yield "invalid logger type", (*_PREDICTOR, "logger")


def scaling(
    predictor: Mapping[str, Any], annotations: Mapping[str, str], release: Release
) -> Iterator[tuple[str, Path]]:
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
    yield from _hpa(predictor) if check_hpa else _knative(predictor)


def _hpa(predictor: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    metric = predictor.get("scaleMetric", "cpu")
    if metric not in ("cpu", "memory"):
        yield f"[{metric}] is not a supported metric", (*_PREDICTOR, "scaleMetric")
    target = predictor.get("scaleTarget")
    if target is not None and ((metric == "cpu" and target < 1) or target > 100):
        message = "the target utilization percentage should be a [1-100] integer"
        yield message, (*_PREDICTOR, "scaleTarget")


def _knative(predictor: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    if predictor.get("deploymentStrategy") is not None:
        message = "customizing deploymentStrategy is only supported for raw deployment mode"
        yield message, (*_PREDICTOR, "deploymentStrategy")
    metric = predictor.get("scaleMetric", "concurrency")
    if metric not in ("concurrency", "rps"):
        yield f"[{metric}] is not a supported metric", (*_PREDICTOR, "scaleMetric")
