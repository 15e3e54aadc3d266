"""What KServe injects into the pods of a multi-node InferenceService."""

from dataclasses import dataclass

from vllm_multinode.contract import env
from vllm_multinode.contract.kserve import MODEL_MOUNT, Role
from vllm_multinode.platforms.versions import Version, parse_version


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
