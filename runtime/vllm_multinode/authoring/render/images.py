"""Images that have vLLM: the released ones that the launcher is mounted into, and those that are built."""

import importlib.metadata
from collections.abc import Mapping
from typing import Final

from vllm_multinode.authoring.spec.accelerators import AcceleratorType
from vllm_multinode.authoring.spec.parts import Install
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, EXECUTORS, ExecutorName
from vllm_multinode.engines.versions import IMAGE, LAST_WITH_RAY

_VLLM: Final = f"v{IMAGE}"
_GAUDI: Final = "1.24.0/ubuntu24.04/habanalabs/vllm-0.19.0-ptfork-2.10.0:1.24.0-1007"

RELEASED: Final[Mapping[AcceleratorType, str]] = {
    "nvidia": f"docker.io/vllm/vllm-openai:{_VLLM}",
    "amd": f"docker.io/vllm/vllm-openai-rocm:{_VLLM}",
    "intel": f"docker.io/vllm/vllm-openai-xpu:{_VLLM}",
    "none": f"docker.io/vllm/vllm-openai-cpu:{_VLLM}",
    "gaudi": f"vault.habana.ai/gaudi-docker/{_GAUDI}",
}
"""The releases that runtime/Containerfile builds on. None has Ray: vLLM does not require it any more."""

WITH_RAY: Final[Mapping[AcceleratorType, str]] = {
    "nvidia": f"docker.io/vllm/vllm-openai:v{LAST_WITH_RAY}",
}
"""The last releases with Ray; for other accelerators one has to be built."""

_BUILT_TAGS: Final[Mapping[AcceleratorType, str]] = {
    "amd": "-rocm",
    "intel": "-xpu",
    "none": "-cpu",
    "gaudi": "-gaudi",
}


def default_image(
    install: Install, accelerator: AcceleratorType = "nvidia", executor: ExecutorName = DEFAULT_EXECUTOR
) -> str:
    """The image where a spec names none.

    Args:
        install: how the launcher comes into it.
        accelerator: what vLLM in it is made for.
        executor: that it has to have.
    """
    if install == "configMap" and EXECUTORS[executor].needs_ray and accelerator in WITH_RAY:
        return WITH_RAY[accelerator]
    if install == "configMap":
        return RELEASED[accelerator]
    version = importlib.metadata.version("vllm-multinode")
    return f"vllm-multinode:{version}{_BUILT_TAGS.get(accelerator, '')}"
