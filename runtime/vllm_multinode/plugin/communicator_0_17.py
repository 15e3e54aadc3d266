"""The CPU communicator for vLLM 0.17 to 0.19."""

from vllm_multinode.plugin.communicator import MultinodeCpuCommunicator
from vllm_multinode.plugin.tensor_dicts import TensorDictsOverGloo


class CpuCommunicator017(MultinodeCpuCommunicator, TensorDictsOverGloo):
    """Shares memory only where the ranks have the same /dev/shm, and sends tensors over gloo elsewhere."""
