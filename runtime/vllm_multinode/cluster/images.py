"""The engine that a platform supports: the image that its own runtime for several nodes runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, EXECUTORS, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.support import RAY_TOKEN, can_run, oldest
from vllm_multinode.engines.versions import dotted
from vllm_multinode.platforms.releases import Release

TEMPLATE: Final = "vllm-multinode-runtime-template"
_TEMPLATES: Final = ("template.openshift.io/v1", "Template")
_NAMESPACES: Final = ("redhat-ods-applications", "opendatahub")
_VERSION: Final = "opendatahub.io/runtime-version"
_MADE_FOR: Final = "nvidia"
"""The Template's image holds vLLM for CUDA."""


@dataclass(frozen=True)
class SupportedEngine:
    """What a platform's Template names.

    Attributes:
        image: of vLLM.
        version: of vLLM in it; empty where nobody says.
        label: of the platform's release.
        executors: that the launcher can run it with, the preferred one first.
    """

    image: str
    version: str
    label: str
    executors: tuple[ExecutorName, ...]

    @property
    def shown(self) -> str:
        """Such as vLLM 0.10.1.1 of OpenShift AI 2.25."""
        return f"vLLM {self.version} of {self.label}" if self.version else f"vLLM of {self.label}"

    def executor(self, asked: ExecutorName | None) -> ExecutorName:
        """The executor to run it with.

        Raises:
            MultinodeError: SPEC where another one was asked for.
        """
        if asked is None or asked in self.executors:
            return asked or self.executors[0]
        first = dotted(oldest(asked))
        raise MultinodeError(
            ExitCode.SPEC,
            f"{self.shown} does not support {asked} over several nodes.",
            where="executor",
            hint=f"Leave executor out, for {self.executors[0]}, or name an image with vLLM {first} or newer.",
        )


def supported_engine(cluster: Cluster, release: Release | None) -> SupportedEngine | None:
    """Read OpenShift AI's engine from its Template; None elsewhere, and where it cannot be read.

    Args:
        cluster: where the platform runs.
        release: what runs there.
    """
    if release is None or not release.names_engine_image:
        return None
    for namespace in _NAMESPACES:
        try:
            found = cluster.get(cluster.resource(*_TEMPLATES), TEMPLATE, namespace)
        except MultinodeError as error:
            if error.code not in (ExitCode.FORBIDDEN, ExitCode.KIND_MISSING):
                raise
            return None
        for runtime in (found or {}).get("objects") or []:
            for container in (runtime.get("spec") or {}).get("containers") or []:
                if image := str(container.get("image") or ""):
                    return _engine(image, runtime, release)
    return None


def _engine(image: str, runtime: Mapping[str, Any], release: Release) -> SupportedEngine:
    annotations = (runtime.get("metadata") or {}).get("annotations") or {}
    version = str(annotations.get(_VERSION) or release.engine).removeprefix("v")
    if not version and release.engine_needs_ray:
        # From before the Template said it, which is before anything that the launcher takes.
        return SupportedEngine(image, version, release.label, ())
    order = sorted(EXECUTORS, key=lambda name: name != DEFAULT_EXECUTOR)
    return SupportedEngine(
        image, version, release.label, tuple(name for name in order if can_run(version, name))
    )


def takes_supported(spec: DeploymentSpec) -> bool:
    """Whether a spec leaves the image to the platform."""
    is_open = spec.image is None and spec.install == "configMap" and spec.writes_runtime
    return is_open and spec.accelerator.type == _MADE_FOR


def asked_executor(spec: DeploymentSpec) -> ExecutorName | None:
    """The executor that a spec names; None where it leaves that open."""
    return spec.executor if "executor" in spec.model_fields_set else None


def fields_of(engine: SupportedEngine, asked: ExecutorName | None) -> dict[str, Any]:
    """What a spec has to say to run the platform's engine; nothing where the launcher cannot run it.

    Raises:
        MultinodeError: SPEC for an executor that the engine has not.
    """
    if not engine.executors:
        return {}
    return {"image": engine.image, "executor": engine.executor(asked)}


def sentences(engine: SupportedEngine, fields: Mapping[str, Any]) -> Iterator[str]:
    """What a user is told of it."""
    if not fields:
        least = dotted(oldest("ray"))
        yield f"Image: vLLM's own, because {engine.shown} is older than {least}, the oldest that runs"
        return
    yield f"Image: {engine.image}, which {engine.label} supports"
    executor = EXECUTORS[fields["executor"]]
    if executor.name != DEFAULT_EXECUTOR and len(engine.executors) == 1:
        yield f"Executor: {executor.name}, because {engine.shown} has no other over several nodes"
    if executor.needs_ray:
        yield (
            f"Its Ray has to be {dotted(RAY_TOKEN)} or newer to know the group's token; an older one is "
            "rejected at start. An image of vLLM's own has no such need."
        )
