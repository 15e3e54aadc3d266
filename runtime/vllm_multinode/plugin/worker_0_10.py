"""The CPU worker for vLLM 0.10 to 0.16, fit for Ray."""

import torch
from vllm.v1.worker.cpu_worker import CPUWorker


class CpuWorker010(CPUWorker):
    """Names its device: Ray's wrapper of a worker asks for it, and CPU workers have none."""

    def init_device(self) -> None:
        """Name it once it is there."""
        super().init_device()
        self.device = torch.device("cpu")
