"""vLLM's CPU communicator, which shares memory only where the ranks have the same /dev/shm."""

import torch.distributed
from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator

from vllm_multinode.plugin.shared_memory import shared_memory_identity


class MultinodeCpuCommunicator(CpuCommunicator):
    """Falls back to gloo between ranks of different nodes.

    vLLM compares a name made of the rendezvous port, which ranks on different nodes have in common: they
    would wait for each other in segments that the other cannot see.
    """

    def _all_group_ranks_share_shm_group_name(self) -> bool:
        # Every rank takes part in both gathers, whatever the first one says: these are collectives.
        same_name = super()._all_group_ranks_share_shm_group_name()
        identities: list[tuple[str, int, int] | None] = [None] * self.world_size
        torch.distributed.all_gather_object(identities, shared_memory_identity(), group=self.device_group)
        return same_name and len(set(identities)) == 1
