"""What a rule is, and what it looks at."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import ExecutorName, counted_by_kserve
from vllm_multinode.contract.finding import Finding, Path, Severity
from vllm_multinode.k8s.access import Body, at, containers, listed, mapping, number, text
from vllm_multinode.k8s.documents import Document
from vllm_multinode.platforms import gpus, names
from vllm_multinode.platforms.kserve import defaulting, schema
from vllm_multinode.platforms.kserve.nodes import Layout, layout
from vllm_multinode.platforms.kserve.selection import Selection, select
from vllm_multinode.platforms.releases import Release

if TYPE_CHECKING:
    from vllm_multinode.sizing.model.sources import Source
    from vllm_multinode.sizing.planner.request import Gpu

Check = Callable[["Case"], Iterator[Finding]]
RUNTIMES: Final = ("ServingRuntime", "ClusterServingRuntime")
PREDICTOR: Final[Path] = ("spec", "predictor")
MODEL: Final[Path] = (*PREDICTOR, "model")
WORKER_SPEC: Final[Path] = (*PREDICTOR, "workerSpec")
LWS_TEMPLATE: Final[Path] = ("spec", "leaderWorkerTemplate")


def every(release: Release) -> bool:
    """Holds for every release that knows multi-node."""
    return release.knows_worker_spec


def always(_: Release) -> bool:
    """Holds for every release, also for those without multi-node."""
    return True


@dataclass(frozen=True)
class Rule:
    """One thing that goes wrong.

    Attributes:
        id: stable; what people search for and what scripts compare.
        severity: see `SEVERITIES`.
        message: one sentence: what will happen.
        hint: one sentence: what to do.
        seen: where it was seen.
        check: yields the places of one document that break it.
        kinds: of the documents that it looks at.
        holds: the releases that it holds for.
    """

    id: str
    severity: Severity
    message: str
    hint: str
    seen: str
    check: Check
    kinds: tuple[str, ...] = ("InferenceService",)
    holds: Callable[[Release], bool] = every


@dataclass(frozen=True)
class Container:
    """A container of a document, where it stands and what part it plays."""

    path: Path
    body: Body
    role: Literal["head", "worker", "other"]


@dataclass(frozen=True)
class Case:
    """One document, one release, and what else was given.

    Attributes:
        document: looked at.
        documents: all, this one among them.
        release: of KServe or OpenShift AI.
        model: that is to be served, where `--model` or a file has named one.
        gpu: of the nodes, where `--gpu` or a cluster has named one.
        simulated: what the simulated control plane finds of the document.
        kept: what one rule has worked out for others of its module.
    """

    document: Document
    documents: Sequence[Document]
    release: Release
    model: "Source | None" = field(default=None, repr=False)
    gpu: "Gpu | None" = field(default=None, repr=False)
    simulated: Sequence[Finding] = field(default=(), repr=False)
    kept: dict[str, object] = field(default_factory=dict, repr=False)

    @property
    def body(self) -> Body:
        """The document's object."""
        return self.document.body

    @cached_property
    def shaped(self) -> bool:
        """Whether the object has the types that its schema wants: a webhook sees no other."""
        return schema.is_shaped(self.body)

    @cached_property
    def multi_node(self) -> bool:
        """Whether an InferenceService asks for workers."""
        return isinstance(at(self.body, *WORKER_SPEC), dict)

    @cached_property
    def runtimes(self) -> list[Document]:
        """The ServingRuntimes among the documents that KServe would let in."""
        return [one for one in self.documents if one.kind in RUNTIMES and schema.is_shaped(one.body)]

    @cached_property
    def selection(self) -> Selection | None:
        """The runtime that an InferenceService gets, or why not; None where it cannot be told."""
        if self.document.kind != "InferenceService" or not self.shaped:
            return None
        service = defaulting.defaulted(self.body, self.release)
        if at(service, *MODEL) is None:
            return None
        return select(service, [one.body for one in self.runtimes], self.release)

    @cached_property
    def runtime(self) -> Body:
        """The runtime of an InferenceService; empty where it is not among the documents."""
        found = self.selection
        return found.runtime if found is not None and found.runtime is not None else {}

    def runtime_container(self, role: Literal["head", "worker"]) -> Body:
        """The runtime's container that the head's or a worker's is made from."""
        path: Path = ("spec", "containers") if role == "head" else ("spec", "workerSpec", "containers")
        wanted = names.HEAD_CONTAINER if role == "head" else names.WORKER_CONTAINER
        return next((body for _, body in containers(self.runtime, path) if body.get("name") == wanted), {})

    def service_container(self, role: Literal["head", "worker"]) -> tuple[Path, Body]:
        """The InferenceService's own part of that container, and where it stands."""
        path = MODEL if role == "head" else (*WORKER_SPEC, "containers", 0)
        return path, mapping(self.body, *path)

    def size(self, key: str) -> int:
        """TP ("tensorParallelSize") or PP as KServe reads them, 1 where nobody says."""
        for place in (mapping(self.body, *WORKER_SPEC), mapping(self.runtime, "spec", "workerSpec")):
            size = number(place, key)
            if size is not None:
                return size
        return 1

    @property
    def executor(self) -> ExecutorName:
        """What KServe takes the group for."""
        return counted_by_kserve(text(self.runtime, "spec", "annotations", names.EXECUTOR))

    def gpu_requests(self, role: Literal["head", "worker"]) -> int:
        """GPUs that the merged container requests, 0 where none; as KServe counts them."""
        both = [self.service_container(role)[1], self.runtime_container(role)]
        for name in names.GPU_RESOURCES:
            for container in both:
                value = at(container, "resources", "requests", name)
                if value is not None:
                    return gpu_count(value)
        return 0

    @cached_property
    def layout(self) -> Layout | MultinodeError | None:
        """Nodes and GPUs as KServe makes them; its complaint; None where the runtime is not known."""
        tensor, pipeline = self.size("tensorParallelSize"), self.size("pipelineParallelSize")
        if (
            not (self.multi_node and mapping(self.runtime, "spec", "workerSpec"))
            or tensor < 1
            or pipeline < 1
        ):
            return None
        try:
            return layout(
                self.release,
                self.executor,
                tensor_parallel=tensor,
                pipeline_parallel=pipeline,
                head_gpus=self.gpu_requests("head"),
                worker_gpus=self.gpu_requests("worker"),
            )
        except MultinodeError as error:
            return error

    @cached_property
    def containers(self) -> list[Container]:
        """Every container that the document writes out."""
        kind = self.document.kind
        if kind in RUNTIMES:
            return [
                *_named(self.body, ("spec", "containers"), "head", names.HEAD_CONTAINER),
                *_named(self.body, ("spec", "workerSpec", "containers"), "worker", names.WORKER_CONTAINER),
            ]
        if kind == "InferenceService":
            model = [Container(MODEL, mapping(self.body, *MODEL), "head")] if at(self.body, *MODEL) else []
            own = [
                Container(path, one, "other")
                for path, one in containers(self.body, (*PREDICTOR, "containers"))
            ]
            workers = containers(self.body, (*WORKER_SPEC, "containers"))
            return [*model, *own, *(Container(path, one, "worker") for path, one in workers)]
        return [
            Container(path, one, role)
            for part, role in lws_parts(self.body)
            for path, one in containers(self.body, (*LWS_TEMPLATE, part, "spec", "containers"))
        ]

    @property
    def engines(self) -> list[Container]:
        """The containers that run the engine."""
        return [container for container in self.containers if container.role != "other"]


def simulated(rule: str) -> Check:
    """The check of a rule that the simulated control plane breaks."""

    def check(case: Case) -> Iterator[Finding]:
        yield from (finding for finding in case.simulated if finding.rule == rule)

    return check


def lws_parts(body: Body) -> list[tuple[str, Literal["head", "worker"]]]:
    """The pod templates of a LeaderWorkerSet, and whom they are for."""
    template = mapping(body, *LWS_TEMPLATE)
    parts: list[tuple[str, Literal["head", "worker"]]] = [
        ("leaderTemplate", "head"),
        ("workerTemplate", "worker"),
    ]
    return [(part, role) for part, role in parts if part in template]


def gpu_count(value: Any) -> int:
    """A quantity of GPUs, 0 for what is none."""
    try:
        return gpus.requested({"resources": {"requests": {names.NVIDIA: value}}})
    except (ValueError, ArithmeticError, MultinodeError):
        return 0


def is_ours(body: Body) -> bool:
    """Whether a container runs `multinode`."""
    words = [*listed(body, "command"), *listed(body, "args")]
    return any(
        word == "multinode" or str(word).endswith("/multinode.pyz") for word in words
    ) or "vllm-multinode" in text(body, "image")


def _named(body: Body, path: Path, role: Literal["head", "worker"], name: str) -> Iterator[Container]:
    for place, container in containers(body, path):
        yield Container(place, container, role if container.get("name") == name else "other")
