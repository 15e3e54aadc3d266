"""The CPU communicator for vLLM 0.10 to 0.16, which shares memory between all ranks, wherever they are."""

import torch
import torch.distributed

from vllm_multinode.plugin.shared_memory import shared_memory_identity
from vllm_multinode.plugin.tensor_dicts import TensorDictsOverGloo


class CpuCommunicator010(TensorDictsOverGloo):
    """Falls back to gloo between ranks of different nodes.

    vLLM shares memory in the groups whose names begin with tp and pp; a group without a name does not.
    """

    def __init__(
        self,
        cpu_group: torch.distributed.ProcessGroup,
        device: torch.device | None = None,
        device_group: torch.distributed.ProcessGroup | None = None,
        unique_name: str = "",
    ) -> None:
        identities: list[tuple[str, int, int] | None] = [None] * torch.distributed.get_world_size(cpu_group)
        torch.distributed.all_gather_object(identities, shared_memory_identity(), group=cpu_group)
        name = unique_name if len(set(identities)) == 1 else ""
        super().__init__(cpu_group, device, device_group, name)
        self.unique_name = unique_name
