"""The rendered InferenceService in the KServe SDK's own types, for code that speaks through that SDK."""

import re
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.platforms.releases import DEFAULT, Release

if TYPE_CHECKING:
    from kserve.models import V1beta1InferenceService

_COLLECTION: Final = re.compile(r"list\[(?P<inner>.+)\]|dict[\[(]str, ?(?P<value>.+)[\])]")


def inference_service(spec: DeploymentSpec, platform: str | Release = DEFAULT) -> "V1beta1InferenceService":
    """The service as `kserve.KServeClient().create()` takes it.

    Args:
        spec: of one replica; `render` gives the others, and everything else that belongs to them.
        platform: as `render`'s.

    Raises:
        MultinodeError: SPEC for what this release cannot do, or for several replicas; CLUSTER_EXTRA where the
            SDK is not installed.
    """
    if spec.replicas > 1:
        raise MultinodeError(
            ExitCode.SPEC,
            f"{spec.replicas} replicas are {spec.replicas} InferenceServices.",
            where="replicas",
            hint="Use render(spec), or one spec per replica.",
        )
    (body,) = render(spec, platform).files["inference-service.yaml"]
    try:
        from kserve import models
        from kubernetes import client
    except ImportError as error:
        raise MultinodeError(
            ExitCode.CLUSTER_EXTRA,
            f"The KServe SDK is not installed ({error.name} is missing).",
            hint="Run: pip install 'vllm-multinode[sdk]'",
        ) from error
    # The SDK's own reader knows KServe's types and not those of Kubernetes.
    return cast("V1beta1InferenceService", _typed(body, "V1beta1InferenceService", (models, client)))


def _typed(value: Any, kind: str, modules: Sequence[ModuleType]) -> Any:
    """Plain data as the type that the SDK's models name; what is not a model stays as it is.

    Args:
        value: as JSON has it.
        kind: V1Container, list[V1Container], dict(str, str), str, …
        modules: where models are looked for.
    """
    if found := _COLLECTION.fullmatch(kind):
        inner = found["inner"] or found["value"]
        if isinstance(value, list):
            return [_typed(item, inner, modules) for item in value]
        return {key: _typed(item, inner, modules) for key, item in value.items()}
    model = next((getattr(module, kind) for module in modules if hasattr(module, kind)), None)
    if model is None or not isinstance(value, dict):
        return value
    names = {written: name for name, written in model.attribute_map.items()}
    return model(
        **{names[key]: _typed(item, model.openapi_types[names[key]], modules) for key, item in value.items()}
    )
