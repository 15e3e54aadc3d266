"""What OpenShift AI's own controllers and runtimes never finish, beside what KServe does.

Source: red-hat-data-services/odh-model-controller, internal/controller/{core,serving}, and
red-hat-data-services/kserve, components/predictor.go.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from vllm_multinode.contract import env
from vllm_multinode.contract.finding import Finding, Path
from vllm_multinode.platforms import names
from vllm_multinode.platforms.kserve.reconcile import Source
from vllm_multinode.platforms.simulation import Body, Group, Role
from vllm_multinode.platforms.stock_runtimes import OPENSHIFT_AI

_RAY_TLS: Final = "RAY_USE_TLS"
_COUNTS_STAGES: Final = re.compile(rf"ray status[^\n]*(?:-eq|==|counts)[^\n\w]*{env.PIPELINE_PARALLEL_SIZE}")
_PREDICTOR: Final[Path] = ("spec", "predictor")
_WORKER: Final[Path] = (*_PREDICTOR, "workerSpec")
_CONTAINERS: Final[Mapping[str, tuple[str, Path]]] = {
    "head": (names.HEAD_CONTAINER, (*_PREDICTOR, "model")),
    "worker": (names.WORKER_CONTAINER, (*_WORKER, "containers", 0)),
}


def of_group(source: Source, group: Group) -> Iterator[Finding]:
    """What shows in what is made of a service over several nodes."""
    if not source.multi_node:
        return
    waiting = [role for role in group.roles if role.replicas and _uses_tls(role)]
    if waiting:
        yield from _certificate_of_one_name(source)
    for role in waiting:
        yield from _first_variable(source, role)
    yield from _counted_stages(source, group)


def _uses_tls(role: Role) -> bool:
    main = _CONTAINERS[role.role][0]
    return any(
        one["name"] == _RAY_TLS and one.get("value", "") != "0"
        for container in role.pod["containers"]
        if container["name"] == main
        for one in container.get("env") or []
    )


def _certificate_of_one_name(source: Source) -> Iterator[Finding]:
    name = source.runtime["metadata"]["name"]
    if source.release.issues_ray_certificates == "one-name" and name != OPENSHIFT_AI:
        message = (
            f"{source.release.label} creates the Secret ray-tls only for "
            f"a ServingRuntime named {OPENSHIFT_AI}, not for {name}: its pods wait indefinitely for a "
            "certificate."
        )
        yield Finding((*_PREDICTOR, "model", "runtime"), message, rule="ray-certificate-name")


def _first_variable(source: Source, role: Role) -> Iterator[Finding]:
    """The predicate of the pod controller returns at the first variable that it meets."""
    variables = (one for container in role.pod["containers"] for one in container.get("env") or [])
    first: Body = next(variables, {})
    if not source.release.reads_first_variable_only or first.get("name") == _RAY_TLS:
        return
    message = (
        f"{source.release.label} issues no certificate to the {role.role}'s pod: it looks only at the "
        f"first variable, which is {first.get('name')} instead of {_RAY_TLS} (RHOAIENG-31808), and the "
        "pod stays in Init."
    )
    yield Finding((*_CONTAINERS[role.role][1], "env"), message, rule="ray-certificate-variable")


def _counted_stages(source: Source, group: Group) -> Iterator[Finding]:
    """A head that starts its engine once `ray status` counts PP nodes, where KServe makes another number."""
    if group.nodes == group.pipeline_parallel or not _waits_for_stages(source, group):
        return
    message = (
        f"the head waits until Ray counts {group.pipeline_parallel} nodes "
        f"({env.PIPELINE_PARALLEL_SIZE}), and {source.release.label} makes {group.nodes}: the engine never "
        "starts."
    )
    yield Finding(_WORKER, message, rule="head-counts-stages")


def _waits_for_stages(source: Source, group: Group) -> bool:
    """Whether the head's script does so; OpenShift AI's own runtime over Ray always does."""
    containers = group.roles[0].pod["containers"]
    head: Body = next((one for one in containers if one["name"] == names.HEAD_CONTAINER), {})
    if any(
        _COUNTS_STAGES.search(str(one)) for one in [*(head.get("command") or []), *(head.get("args") or [])]
    ):
        return True
    is_stock = source.runtime["metadata"]["name"] == OPENSHIFT_AI
    return is_stock and source.release.stock_runtime.startswith("ray")
