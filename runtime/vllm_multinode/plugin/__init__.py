"""What vLLM loads of this package: the CPU platform of local nodes, and nothing where it is not asked for."""

import os
from typing import Final

CPU_PLATFORMS: Final = {
    "0.20": "vllm_multinode.plugin.cpu.MultinodeCpuPlatform",
    "0.17": "vllm_multinode.plugin.cpu_0_17.CpuPlatform017",
    "0.10": "vllm_multinode.plugin.cpu_0_10.CpuPlatform010",
}
"""By the first version of vLLM that it is for."""


def cpu_platform() -> str | None:
    """Answer vLLM's entry point group `vllm.platform_plugins`.

    vLLM calls it in every process, on every machine that has this package, so it imports nothing heavy and
    stays silent unless `MULTINODE_CPU_PLATFORM` names a platform.

    Returns:
        The platform's class path, or None where the built-in platforms shall be used.
    """
    return CPU_PLATFORMS.get(os.environ.get("MULTINODE_CPU_PLATFORM", ""))
