"""What each KServe version injects into the pods of a multi-node InferenceService, and how it counts nodes.

Seen on the real controllers of the versions listed in `VERSIONS`.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

Role = Literal["head", "worker"]
Executor = Literal["ray", "mp"]
Version = tuple[int, int, int]

VERSIONS: Final = ("0.15.0", "0.15.1", "0.15.2", "0.16.0", "0.17.1", "0.18.1", "0.19.0", "0.20.0")
DEFAULT_VERSION: Final = "0.18.1"
MODEL_MOUNT: Final = "/mnt/models"
CLAIM_SCHEME: Final = "pvc://"
"""Of a storageUri that names a claim."""


class Layout(NamedTuple):
    """Nodes (head included) and accelerators of the head and of each worker."""

    nodes: int
    head_gpus: int
    worker_gpus: int


@dataclass(frozen=True, kw_only=True)
class Service:
    """One generation of an InferenceService, as far as its pods' environment depends on it."""

    name: str
    generation: int = 1
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    nodes: int = 1
    head_gpus: int = 1
    worker_gpus: int = 1

    @property
    def head_service(self) -> str:
        """The headless Service of this generation's head."""
        return f"{self.name}-head-{self.generation}"

    @property
    def workers_service(self) -> str:
        """The headless Service of this generation's workers (from v0.18)."""
        return f"{self.name}-workers-{self.generation}"


def parse_version(text: str) -> Version:
    """`0.18.1` or `v0.18.1` as three numbers.

    Raises:
        MultinodeError: not a version, or one without multi-node support.
    """
    parts = text.removeprefix("v").split(".")
    if len(parts) not in (2, 3) or not all(part.isdecimal() for part in parts):
        raise MultinodeError(
            ExitCode.USAGE, f"'{text}' is not a KServe version.", mend=f"Known: {', '.join(VERSIONS)}."
        )
    numbers = [int(part) for part in parts] + [0]
    version = (numbers[0], numbers[1], numbers[2])
    if version < (0, 15, 0):
        raise MultinodeError(
            ExitCode.USAGE,
            f"KServe {text} drops workerSpec in silence, so nothing is multi-node there.",
            mend="Use v0.15.0 or newer.",
        )
    return version


def claim_and_path(uri: str) -> tuple[str, str]:
    """Claim and subPath of `pvc://claim/path`; everything behind the first slash is path."""
    claim, _, path = uri.removeprefix(CLAIM_SCHEME).partition("/")
    return claim, path


def knative_modes(version: Version) -> tuple[str, ...]:
    """Values of the deployment mode's annotation that mean Knative; before v0.16 the old name alone."""
    return ("Serverless", "Knative") if version >= (0, 16, 0) else ("Serverless",)


def injected_environment(version: str, role: Role, service: Service) -> dict[str, str]:
    """The variables that KServe `version` adds to the `role`'s container, in its order."""
    known = parse_version(version)
    if role == "head":
        return _head_environment(known, service)
    return _worker_environment(known, service)


def _counts(version: Version, service: Service, gpus: int) -> dict[str, str]:
    if version < (0, 15, 1):
        return {}
    return {env.RAY_NODE_COUNT: str(service.nodes), env.REQUEST_GPU_COUNT: str(gpus)}


def _head_environment(version: Version, service: Service) -> dict[str, str]:
    named = {env.INFERENCE_SERVICE_NAME: service.name} if version >= (0, 17, 0) else {}
    return {
        **named,
        env.PIPELINE_PARALLEL_SIZE: str(service.pipeline_parallel),
        env.TENSOR_PARALLEL_SIZE: str(service.tensor_parallel),
        **_counts(version, service, service.head_gpus),
        env.MODEL_NAME: service.name,
        env.MODEL_DIR: MODEL_MOUNT,
    }


def _worker_environment(version: Version, service: Service) -> dict[str, str]:
    injected: dict[str, str] = {}
    if version < (0, 15, 1):
        injected[env.PIPELINE_PARALLEL_SIZE] = str(service.pipeline_parallel)
    injected |= _counts(version, service, service.worker_gpus)
    if version >= (0, 18, 0):
        injected[env.PIPELINE_PARALLEL_SIZE] = str(service.pipeline_parallel)
        injected[env.TENSOR_PARALLEL_SIZE] = str(service.tensor_parallel)
    injected[env.ISVC_NAME] = service.name
    injected[env.HEAD_SVC] = service.head_service
    if version >= (0, 18, 0):
        injected[env.WORKER_SVC] = service.workers_service
    return injected


def layout(
    version: str,
    executor: Executor,
    *,
    tensor_parallel: int,
    pipeline_parallel: int,
    head_gpus: int = 0,
    worker_gpus: int = 0,
) -> Layout:
    """Nodes and accelerators per pod, as KServe `version` counts them.

    Args:
        version: KServe's version.
        executor: `mp` only where the ServingRuntime is annotated `multinode/executor-backend: mp`.
        tensor_parallel: TP of the workerSpec.
        pipeline_parallel: PP of the workerSpec.
        head_gpus: accelerators requested by the head container, 0 where unset.
        worker_gpus: accelerators requested by the worker container, 0 where unset.

    Raises:
        MultinodeError: the requested accelerators hold more than TP x PP; KServe reports
            InvalidGPUAllocation then.
    """
    known = parse_version(version)
    if known < (0, 15, 1) or (executor == "mp" and known >= (0, 18, 0)):
        return Layout(pipeline_parallel, tensor_parallel, tensor_parallel)
    total = tensor_parallel * pipeline_parallel
    if worker_gpus > 0:
        if head_gpus >= total:
            return Layout(1, total, 0)
        nodes = math.ceil(total / worker_gpus)
        if head_gpus == 0:
            head_gpus = total - worker_gpus * (nodes - 1)
        if nodes == 1:
            return Layout(1, total, 0)
        found = Layout(nodes, head_gpus, worker_gpus)
    elif head_gpus > 0:
        found = Layout(max(total - head_gpus, 0) + 1, head_gpus, 1)
    else:
        found = Layout(total, 1, 1)
    held = found.head_gpus + found.worker_gpus * (found.nodes - 1)
    if total > held:
        raise MultinodeError(
            ExitCode.SIZES,
            f"TP {tensor_parallel} x PP {pipeline_parallel} wants {total} accelerators; head "
            f"{found.head_gpus} and {found.nodes - 1} workers of {found.worker_gpus} hold {held}.",
            mend="KServe reports InvalidGPUAllocation; raise the requests of head or worker.",
        )
    return found
