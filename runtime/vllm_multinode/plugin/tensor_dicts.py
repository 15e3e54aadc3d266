"""Tensors from stage to stage over gloo, where vLLM can send them through shared memory only."""

from typing import Any

import torch
import torch.distributed
from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator


class TensorDictsOverGloo(CpuCommunicator):
    """Before 0.20 the CPU communicator asks torch for functions that torch does not have."""

    def send_tensor_dict(self, tensor_dict: dict[str, Any], dst: int) -> None:
        """Send to a rank of this group: first what comes, then the tensors."""
        if self.dist_module is not torch.distributed:
            super().send_tensor_dict(tensor_dict, dst)
            return
        target = self.ranks[dst]
        announced = [
            (name, (value.dtype, tuple(value.shape)) if isinstance(value, torch.Tensor) else value)
            for name, value in tensor_dict.items()
        ]
        torch.distributed.send_object_list([announced], dst=target, group=self.cpu_group)
        for value in tensor_dict.values():
            if isinstance(value, torch.Tensor):
                torch.distributed.send(value.contiguous(), dst=target, group=self.cpu_group)

    def recv_tensor_dict(self, src: int) -> dict[str, Any]:
        """Receive from a rank of this group."""
        if self.dist_module is not torch.distributed:
            received: dict[str, Any] = super().recv_tensor_dict(src)
            return received
        source = self.ranks[src]
        announced: list[Any] = [None]
        torch.distributed.recv_object_list(announced, src=source, group=self.cpu_group)
        found = {}
        for name, value in announced[0]:
            if isinstance(value, tuple) and isinstance(value[0], torch.dtype):
                value = torch.empty(value[1], dtype=value[0])
                torch.distributed.recv(value, src=source, group=self.cpu_group)
            found[name] = value
        return found
