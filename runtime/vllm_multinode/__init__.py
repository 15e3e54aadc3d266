"""One vLLM engine over several nodes.

From Python, typed::

    from vllm_multinode import DeploymentSpec, inference_service, render

    model = {"claim": "models", "path": "llama"}
    spec = DeploymentSpec(name="llama", model=model, parallelism={"tensor": 4, "pipeline": 2})
    print(render(spec, platform="kserve-0.19.0").stream())

Nothing of it is imported before it is asked for: the launcher shares this package.
"""

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vllm_multinode.authoring.render import Rendered, render
    from vllm_multinode.authoring.sdk import inference_service
    from vllm_multinode.authoring.spec import DeploymentSpec, load

__all__ = ["DeploymentSpec", "Rendered", "inference_service", "load", "render"]

_HOMES: Final = {
    "DeploymentSpec": "vllm_multinode.authoring.spec",
    "Rendered": "vllm_multinode.authoring.render",
    "inference_service": "vllm_multinode.authoring.sdk",
    "load": "vllm_multinode.authoring.spec",
    "render": "vllm_multinode.authoring.render",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
