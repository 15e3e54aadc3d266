"""The CPU platform of local nodes for vLLM 0.17 to 0.19, which turns every other executor into mp."""

from typing import TYPE_CHECKING

from vllm_multinode.plugin.cpu import MultinodeCpuPlatform

if TYPE_CHECKING:
    from vllm.config import VllmConfig


class CpuPlatform017(MultinodeCpuPlatform):
    """Keeps the executor that was asked for."""

    @classmethod
    def check_and_update_config(cls, vllm_config: "VllmConfig") -> None:
        """Apply vLLM's CPU defaults to all but the executor."""
        parallel = vllm_config.parallel_config
        executor = parallel.distributed_executor_backend
        if executor == "ray":
            parallel.distributed_executor_backend = None
        super().check_and_update_config(vllm_config)
        parallel.distributed_executor_backend = executor
