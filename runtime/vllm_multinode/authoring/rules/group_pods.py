"""The pods of one group as the files describe them: labels, and pod and container fields put together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from vllm_multinode.authoring.rules.rule import LWS_TEMPLATE, MODEL, PREDICTOR, WORKER_SPEC, Case, lws_parts
from vllm_multinode.contract.finding import Path
from vllm_multinode.k8s.access import Body, at, containers, listed, mapping
from vllm_multinode.platforms import names

Role = Literal["head", "worker"]

_LWS_NAME: Final = "leaderworkerset.sigs.k8s.io/name"


@dataclass(frozen=True)
class Pod:
    """What the pods of one role are made from.

    Attributes:
        role: head or worker.
        path: of the pod's fields in the service.
        container_path: of the engine's container in the service.
        labels: that the pods have.
        parts: where the pod's fields stand, those that win first.
        containers: the same for the engine's container.
    """

    role: Role
    path: Path
    container_path: Path
    labels: Mapping[str, Any]
    parts: tuple[Body, ...]
    containers: tuple[Body, ...] = field(default=())

    def value(self, *path: str) -> Any:
        """A field of the pod; None where nobody sets it."""
        return next((found for part in self.parts if (found := at(part, *path)) is not None), None)

    def of_container(self, *path: str) -> Any:
        """A field of the container; None where nobody sets it."""
        return next((found for part in self.containers if (found := at(part, *path)) is not None), None)

    def variables(self) -> set[str]:
        """Names of the container's variables."""
        return {str(at(one, "name")) for part in self.containers for one in listed(part, "env")}

    def words(self) -> list[str]:
        """Command and arguments of the container."""
        parts = [listed(part, name) for part in self.containers for name in ("command", "args")]
        return [str(word) for part in parts for word in part]


def pods(case: Case) -> list[Pod]:
    """Head and worker of a service over several nodes; none with one node or an unknown runtime."""
    if case.document.kind == "LeaderWorkerSet":
        return list(_of_set(case))
    if not case.multi_node or not case.runtime:
        return []
    return [_of_service(case, "head"), _of_service(case, "worker")]


def _of_service(case: Case, role: Role) -> Pod:
    path = PREDICTOR if role == "head" else WORKER_SPEC
    inside: Path = ("spec",) if role == "head" else ("spec", "workerSpec")
    place, container = case.service_container(role)
    runtime = mapping(case.runtime, *inside)
    labels = {
        **mapping(runtime, "labels"),
        **mapping(case.body, "metadata", "labels"),
        names.SERVICE_LABEL: case.document.name,
    }
    own = (mapping(case.body, *path), runtime)
    written = (container, case.runtime_container(role))
    return Pod(role, path, place if role == "worker" else MODEL, labels, own, written)


def _of_set(case: Case) -> Iterator[Pod]:
    for part, role in lws_parts(case.body):
        place = (*LWS_TEMPLATE, part)
        labels = {**mapping(case.body, *place, "metadata", "labels"), _LWS_NAME: case.document.name}
        pod = mapping(case.body, *place, "spec")
        for path, container in list(containers(case.body, (*place, "spec", "containers")))[:1]:
            yield Pod(role, (*place, "spec"), path, labels, (pod,), (container,))
