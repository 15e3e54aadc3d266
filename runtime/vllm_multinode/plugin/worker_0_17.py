"""The CPU worker for vLLM 0.17 to 0.19, which insists on libraries that only make it faster."""

import os

from vllm_multinode.plugin.worker_0_10 import CpuWorker010

# It looks for these names in the variable, not for the libraries.
_LOOKED_FOR = "libtcmalloc:libiomp"


class CpuWorker017(CpuWorker010):
    """Starts without the libraries."""

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
