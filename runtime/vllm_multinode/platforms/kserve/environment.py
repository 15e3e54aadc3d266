"""What KServe injects into the pods of a multi-node InferenceService."""

from dataclasses import dataclass

from vllm_multinode.contract import env
from vllm_multinode.contract.kserve import MODEL_MOUNT, Role
from vllm_multinode.platforms.releases import Release


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


def injected_environment(release: Release, role: Role, service: Service) -> dict[str, str]:
    """The variables that a release adds to the `role`'s container, in its order."""
    values = {
        env.PIPELINE_PARALLEL_SIZE: str(service.pipeline_parallel),
        env.TENSOR_PARALLEL_SIZE: str(service.tensor_parallel),
        env.RAY_NODE_COUNT: str(service.nodes),
        env.REQUEST_GPU_COUNT: str(service.head_gpus if role == "head" else service.worker_gpus),
        env.MODEL_NAME: service.name,
        env.MODEL_DIR: MODEL_MOUNT,
        env.ISVC_NAME: service.name,
        env.HEAD_SVC: service.head_service,
        env.WORKER_SVC: service.workers_service,
    }
    if role == "worker":
        return {name: values[name] for name in release.worker_variables}
    named = {env.INFERENCE_SERVICE_NAME: service.name} if release.injects_service_name else {}
    return named | {name: values[name] for name in release.head_variables}
