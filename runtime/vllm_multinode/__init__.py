"""One vLLM engine over several nodes.

From Python, typed::

    from vllm_multinode import DeploymentSpec, Model, Parallelism, render, validate

    spec = DeploymentSpec(
        name="llama",
        model=Model(claim="models", path="llama"),
        parallelism=Parallelism(tensor=4, pipeline=2),
    )
    assert not any(finding.blocks for finding in validate(spec, "kserve-0.19.0"))
    print(render(spec, "kserve-0.19.0").stream())

The rest of the cycle: `plan`, `preview`, `deploy`, `wait`, `status`, `delete`, `convert_files`. Whatever is
wrong is a MultinodeError, or pydantic's ValidationError where a spec is built. Nothing of it is imported
before it is asked for: the launcher shares this package.
"""

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vllm_multinode.api.checking import Platform, preview, validate
    from vllm_multinode.api.converting import convert_files
    from vllm_multinode.api.given import Given
    from vllm_multinode.api.operations import Login, Progress, delete, deploy, status, wait
    from vllm_multinode.api.planning import plan
    from vllm_multinode.authoring.planned import spec_of
    from vllm_multinode.authoring.preview import Preview
    from vllm_multinode.authoring.render import Rendered, Target, render
    from vllm_multinode.authoring.sdk import inference_service
    from vllm_multinode.authoring.spec import (
        Accelerator,
        Claim,
        DeploymentSpec,
        EnvSource,
        Model,
        Network,
        NodePool,
        Parallelism,
        Placement,
        Rdma,
        Resources,
        RolePlacement,
        Runtime,
        SecretKey,
        SpreadConstraint,
        Toleration,
        load,
        loads,
    )
    from vllm_multinode.cluster.delete import Deleted
    from vllm_multinode.cluster.deploy import Deployed, Outcome
    from vllm_multinode.contract.errors import MultinodeError
    from vllm_multinode.contract.executors import ExecutorName
    from vllm_multinode.contract.exit_codes import ExitCode
    from vllm_multinode.contract.finding import Finding, Severity
    from vllm_multinode.convert import Conversion, Row, Service
    from vllm_multinode.convert.conversion import Kind
    from vllm_multinode.operate.status import ServiceStatus
    from vllm_multinode.platforms.releases import Release
    from vllm_multinode.sizing.planner.choice import Choice, Plan
    from vllm_multinode.sizing.planner.kv_cache import KvDtype

__all__ = [
    "Accelerator",
    "Choice",
    "Claim",
    "Conversion",
    "Deleted",
    "Deployed",
    "DeploymentSpec",
    "EnvSource",
    "ExecutorName",
    "ExitCode",
    "Finding",
    "Given",
    "Kind",
    "KvDtype",
    "Login",
    "Model",
    "MultinodeError",
    "Network",
    "NodePool",
    "Outcome",
    "Parallelism",
    "Placement",
    "Plan",
    "Platform",
    "Preview",
    "Progress",
    "Rdma",
    "Release",
    "Rendered",
    "Resources",
    "RolePlacement",
    "Row",
    "Runtime",
    "SecretKey",
    "Service",
    "ServiceStatus",
    "Severity",
    "SpreadConstraint",
    "Target",
    "Toleration",
    "convert_files",
    "delete",
    "deploy",
    "inference_service",
    "load",
    "loads",
    "plan",
    "preview",
    "render",
    "spec_of",
    "status",
    "validate",
    "wait",
]

_HOMES: Final = {
    "vllm_multinode.api.planning": "plan",
    "vllm_multinode.api.checking": "Platform preview validate",
    "vllm_multinode.api.converting": "convert_files",
    "vllm_multinode.api.given": "Given",
    "vllm_multinode.api.operations": "Login Progress delete deploy status wait",
    "vllm_multinode.authoring.planned": "spec_of",
    "vllm_multinode.authoring.preview": "Preview",
    "vllm_multinode.authoring.render": "Rendered Target render",
    "vllm_multinode.authoring.sdk": "inference_service",
    "vllm_multinode.authoring.spec": (
        "Accelerator Claim DeploymentSpec EnvSource Model Network NodePool Parallelism Placement "
        "Rdma Resources RolePlacement Runtime SecretKey SpreadConstraint Toleration load loads "
    ),
    "vllm_multinode.cluster.delete": "Deleted",
    "vllm_multinode.cluster.deploy": "Deployed Outcome",
    "vllm_multinode.contract.errors": "MultinodeError",
    "vllm_multinode.contract.exit_codes": "ExitCode",
    "vllm_multinode.contract.executors": "ExecutorName",
    "vllm_multinode.contract.finding": "Finding Severity",
    "vllm_multinode.convert": "Conversion Row Service",
    "vllm_multinode.convert.conversion": "Kind",
    "vllm_multinode.operate.status": "ServiceStatus",
    "vllm_multinode.platforms.releases": "Release",
    "vllm_multinode.sizing.planner.choice": "Choice Plan",
    "vllm_multinode.sizing.planner.kv_cache": "KvDtype",
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
