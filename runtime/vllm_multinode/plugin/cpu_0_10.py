"""The CPU platform of local nodes for vLLM 0.10 to 0.16, whose ranks always share memory."""

from vllm_multinode.plugin.cpu_0_17 import CpuPlatform017


class CpuPlatform010(CpuPlatform017):
    """Asks first whether the ranks can share memory."""

    @classmethod
    def get_device_communicator_cls(cls) -> str:
        """Name the communicator; it cannot be imported here, because it asks which platform this is."""
        return "vllm_multinode.plugin.communicator_0_10.CpuCommunicator010"
