"""What vLLM's CPU build needs of its environment."""

import json
from importlib import metadata
from pathlib import Path

from vllm_multinode.engines.vllm import vllm


def default_arguments(version: str) -> dict[str, str]:
    """A quick start rather than throughput, where the user says nothing.

    Args:
        version: of vLLM.
    """
    return {
        "--max-num-batched-tokens": "512",
        "--max-num-seqs": "8",
        "--num-gpu-blocks-override": "64",
        # Not --enforce-eager: it skips the warm-up pass, and without that the first request ends a pipeline.
        "--compilation-config": json.dumps({vllm(version).compilation_key: 2, "backend": "eager"}),
    }


def cpu_environment(
    *,
    node_address: str,
    interface: str | None,
    kv_cache_gib: int = 1,
    fork: bool = True,
    version: str,
) -> dict[str, str]:
    """Build the environment of every engine process of one node: `vllm serve` and `ray start` alike.

    Args:
        node_address: the IP address that the other nodes reach this one by.
        interface: the network interface that carries it; None leaves gloo's choice.
        kv_cache_gib: size of each worker's KV cache in GiB.
        version: of vLLM.
        fork: fork the engine's processes from the API server, which has imported vLLM already.
    """
    environment = {
        "MULTINODE_CPU_PLATFORM": vllm(version).cpu_plugin,
        "MULTINODE_CPU_FORK": "1" if fork else "0",
        "VLLM_HOST_IP": node_address,
        "VLLM_CPU_KVCACHE_SPACE": str(kv_cache_gib),
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    if vllm(version).ray_compiled_graph:
        # Its own choice asks for a device.
        environment["VLLM_USE_RAY_COMPILED_DAG_CHANNEL_TYPE"] = "shm"
    if interface is not None:
        environment["GLOO_SOCKET_IFNAME"] = interface
    return environment


def write_vllm_metadata(directory: Path) -> Path | None:
    """Write the distribution metadata named `vllm` that the `vllm` command asks for and `vllm-cpu` lacks.

    The directory belongs on PYTHONPATH of every engine process. "cpu" stays in the version, because vLLM
    looks for it there to tell which build it is.

    Args:
        directory: where to write `vllm-<version>+cpu.dist-info/METADATA`; made where it is missing.

    Returns:
        The file, or None where nothing is missing: a distribution `vllm` is installed, or `vllm-cpu` is not.
    """
    if _version("vllm") is not None:
        return None
    version = _version("vllm-cpu")
    if version is None:
        return None
    if "cpu" not in version:
        version += "+cpu"
    file = directory / f"vllm-{version}.dist-info" / "METADATA"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n", encoding="utf-8")
    return file


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
