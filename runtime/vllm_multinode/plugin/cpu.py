"""vLLM's CPU platform, with what local nodes need: Ray, several ranks on each node, forked processes."""

import os
from typing import TYPE_CHECKING

from vllm.platforms.cpu import CpuPlatform

if TYPE_CHECKING:
    from vllm.config import VllmConfig

# From the process that makes the configuration to those that it starts.
_LOCAL_RANKS = "MULTINODE_CPU_LOCAL_RANKS"


class MultinodeCpuPlatform(CpuPlatform):
    """A CPU that Ray places like a GPU: nodes start with `ray start --num-gpus N`."""

    ray_device_key = "GPU"

    @classmethod
    def get_device_communicator_cls(cls) -> str:
        """Name the communicator; it cannot be imported here, because it asks which platform this is."""
        return "vllm_multinode.plugin.communicator.MultinodeCpuCommunicator"

    @classmethod
    def device_count(cls) -> int:
        """Count this node's ranks.

        The mp executor takes the count for the ranks of a node, to tell which ones share it. With torch's
        answer for a CPU, always one, a second rank on a node fails an assertion.
        """
        return int(os.environ.get(_LOCAL_RANKS, "1"))

    @classmethod
    def check_and_update_config(cls, vllm_config: "VllmConfig") -> None:
        """Apply vLLM's CPU defaults, then undo the forced spawn where `MULTINODE_CPU_FORK=1`."""
        super().check_and_update_config(vllm_config)
        os.environ[_LOCAL_RANKS] = str(vllm_config.parallel_config.local_world_size)
        if os.environ.get("MULTINODE_CPU_FORK") == "1":
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
