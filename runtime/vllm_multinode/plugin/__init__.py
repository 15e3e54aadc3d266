"""What vLLM loads of this package: the CPU platform of local nodes, and nothing where it is not asked for."""

import os

CPU_PLATFORM = "vllm_multinode.plugin.cpu.MultinodeCpuPlatform"


def cpu_platform() -> str | None:
    """Answer vLLM's entry point group `vllm.platform_plugins`.

    vLLM calls it in every process, on every machine that has this package, so it imports nothing heavy and
    stays silent unless `MULTINODE_CPU_PLATFORM=1`.

    Returns:
        The platform's class path, or None where the built-in platforms shall be used.
    """
    return CPU_PLATFORM if os.environ.get("MULTINODE_CPU_PLATFORM") == "1" else None
