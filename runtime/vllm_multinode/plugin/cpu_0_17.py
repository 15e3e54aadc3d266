"""The CPU platform of local nodes for vLLM 0.17 to 0.19, which turns every other executor into mp."""

from typing import TYPE_CHECKING

from vllm_multinode.plugin.cpu import MultinodeCpuPlatform

if TYPE_CHECKING:
    from vllm.config import VllmConfig


class CpuPlatform017(MultinodeCpuPlatform):
    """Keeps the executor that was asked for."""

    worker = "vllm_multinode.plugin.worker_0_17.CpuWorker017"

    @classmethod
    def get_device_communicator_cls(cls) -> str:
        """Name the communicator; it cannot be imported here, because it asks which platform this is."""
        return "vllm_multinode.plugin.communicator_0_17.CpuCommunicator017"

    @classmethod
    def check_and_update_config(cls, vllm_config: "VllmConfig") -> None:
        """Apply vLLM's CPU defaults to all but the executor."""
        parallel = vllm_config.parallel_config
        executor = parallel.distributed_executor_backend
        if executor == "ray":
            parallel.distributed_executor_backend = None
        if parallel.worker_cls == "auto":
            parallel.worker_cls = cls.worker
        super().check_and_update_config(vllm_config)
        parallel.distributed_executor_backend = executor
