"""Sentences beside a preview: what it does not show, and what holds for every service of a release."""

from collections.abc import Iterator, Mapping
from typing import Any

from vllm_multinode.platforms import names
from vllm_multinode.platforms.releases import Release
from vllm_multinode.platforms.simulation import Body


def notes_of_service(body: Mapping[str, Any], service: Body, release: Release) -> Iterator[str]:
    """Notes on one InferenceService.

    Args:
        body: as it was written.
        service: after KServe's defaulting.
        release: of KServe or OpenShift AI.
    """
    predictor = service["spec"]["predictor"]
    if names.DEPLOYMENT_MODE not in (body["metadata"].get("annotations") or {}):
        mode = service["metadata"]["annotations"][names.DEPLOYMENT_MODE]
        yield f"{names.DEPLOYMENT_MODE} is not set: the cluster's ConfigMap decides; {mode} is assumed here."
    for part in ("transformer", "explainer"):
        if body["spec"].get(part) is not None:
            yield f"The {part}'s objects are not shown."
    for part in ("logger", "batcher"):
        if predictor.get(part) is not None:
            yield f"The agent that the {part} adds to the head's pod is not shown."
    yield from _empty_variables(body["spec"]["predictor"])
    if predictor.get("workerSpec") is None:
        if predictor.get("model") is None:
            yield "A predictor with its own container is not shown."
        return
    if release.keeps_three_head_services:
        yield (
            f"{release.label} keeps the three newest head Services of the whole cluster and deletes the "
            "others: more than three multi-node generations cannot run side by side."
        )
    if release.never_sets_ready:
        yield (
            f"{release.label} leaves PredictorReady at Unknown although both Deployments are available: "
            "the service serves but never reports Ready (kserve#5703). Wait for its Deployments."
        )


def _empty_variables(predictor: Mapping[str, Any]) -> Iterator[str]:
    workers = (predictor.get("workerSpec") or {}).get("containers") or []
    for container in (predictor.get("model") or {}, *workers):
        for variable in container.get("env") or []:
            if variable.get("value") == "":
                yield (
                    f"An empty value does not reach KServe's merge: a {variable['name']} of the "
                    "ServingRuntime stays as it is."
                )
