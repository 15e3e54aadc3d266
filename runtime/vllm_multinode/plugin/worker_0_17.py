"""The CPU worker for vLLM 0.17 to 0.19: without libraries that only make it faster, and fit for Ray."""

import os

import torch
from vllm.v1.worker.cpu_worker import CPUWorker

# It looks for these names in the variable, not for the libraries.
_LOOKED_FOR = "libtcmalloc:libiomp"


class CpuWorker017(CPUWorker):
    """Starts without the libraries, and names its device."""

    def init_device(self) -> None:
        """Name them while vLLM looks; no process is started meanwhile that would miss them."""
        before = os.environ.get("LD_PRELOAD")
        os.environ["LD_PRELOAD"] = f"{before or ''}:{_LOOKED_FOR}"
        try:
            super().init_device()
        finally:
            if before is None:
                del os.environ["LD_PRELOAD"]
            else:
                os.environ["LD_PRELOAD"] = before
        # Ray's wrapper of a worker asks for it before the first step, and CPU workers have none.
        self.device = torch.device("cpu")
