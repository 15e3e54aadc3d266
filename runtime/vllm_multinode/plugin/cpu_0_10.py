"""The CPU platform of local nodes for vLLM 0.10 to 0.16, whose ranks always share memory."""

from typing import TYPE_CHECKING

import torch

from vllm_multinode.plugin.cpu_0_17 import CpuPlatform017

if TYPE_CHECKING:
    from vllm.config import VllmConfig


class CpuPlatform010(CpuPlatform017):
    """Asks first whether the ranks can share memory."""

    worker = "vllm_multinode.plugin.worker_0_10.CpuWorker010"

    @classmethod
    def check_and_update_config(cls, vllm_config: "VllmConfig") -> None:
        """Apply vLLM's CPU defaults; 0.11.1 and 0.12 ask torch instead of the platform for a node's ranks."""
        super().check_and_update_config(vllm_config)
        torch.cuda.device_count = cls.device_count

    @classmethod
    def get_device_communicator_cls(cls) -> str:
        """Name the communicator; it cannot be imported here, because it asks which platform this is."""
        return "vllm_multinode.plugin.communicator_0_10.CpuCommunicator010"
