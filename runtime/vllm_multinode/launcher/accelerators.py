"""Which accelerators this pod was given, without starting a framework or a process to count them.

A device plugin mounts the device nodes of what the pod was given and no others, so the nodes in /dev are
what counts; /sys and /proc describe the whole machine and only tell what a node is. The frameworks' own
variables then narrow that down. Counted is what a framework offers as a device, with one exception: an Intel
card of several tiles counts once, as its device plugin counts it.

Every function takes the root of the file system, so that a tree of files can stand for a machine.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vllm_multinode.contract.numbers import is_count

Kind = Literal["cuda", "rocm", "xpu", "gaudi", "cpu"]

_INTEL = "0x8086"
_HABANA = "0x1da3"
_DISPLAY_CONTROLLER_VGA = "0x0300"
# Intel's graphics inside the processor are always this function of the root complex.
_INTEGRATED_GRAPHICS = "0000:00:02.0"


@dataclass(frozen=True, slots=True)
class Accelerators:
    """What this pod was given.

    Attributes:
        kind: the family; "cpu" where there is no other.
        count: devices, or for "cpu" the slots that were asked for.
        product: what the driver calls them, None where it does not tell.
    """

    kind: Kind
    count: int
    product: str | None


def detect(
    environment: Mapping[str, str],
    choice: Kind | Literal["auto"] = "auto",
    given: int | None = None,
    root: Path = Path("/"),
) -> Accelerators:
    """Count the accelerators that an engine in this environment would see.

    Args:
        environment: the process's, for the variables that hide devices.
        choice: one family, or "auto" for the first that has a device.
        given: what KServe says the pod was given, which is the number of a CPU engine's slots; 1 where it
            says nothing.
        root: of the file system.
    """
    finders = {"cuda": _cuda, "rocm": _rocm, "gaudi": _gaudi, "xpu": _xpu}
    kinds: tuple[Kind, ...] = ("cuda", "rocm", "gaudi", "xpu") if choice == "auto" else (choice,)
    for kind in kinds:
        if kind == "cpu":
            break
        count, product = finders[kind](environment, root)
        if count or choice == kind:
            return Accelerators(kind, count, product)
    return Accelerators("cpu", 1 if given is None else given, None)


def _cuda(environment: Mapping[str, str], root: Path) -> tuple[int, str | None]:
    """Count /dev/nvidia<N>, or the MIG instances among the given capability devices.

    Two values of NVIDIA_VISIBLE_DEVICES say nothing: "void", which is also what the container toolkit sets
    when it has mounted the devices by CDI, and a path, under which the devices are then listed as mounts.
    """
    count = _mig_instances(root) or len(_numbered(root / "dev", r"nvidia(\d+)"))
    asked = environment.get("NVIDIA_VISIBLE_DEVICES", "")
    if asked == "none":
        count = 0
    elif asked not in ("", "void", "all") and not asked.startswith("/"):
        listed = _entries(asked)
        # A MIG device of the list need not have a capability device that we can read.
        count = len(listed) if count and _names_mig(listed) else min(count, len(listed))
    count = _narrowed(count, environment.get("CUDA_VISIBLE_DEVICES"))
    return count, _nvidia_product(root)


def _mig_instances(root: Path) -> int:
    """Count the MIG compute instances whose capability device is mounted."""
    capabilities = root / "proc/driver/nvidia/capabilities"
    given = set(_numbered(root / "dev/nvidia-caps", r"nvidia-cap(\d+)"))
    minors = (_field(path, "DeviceFileMinor:") for path in capabilities.glob("gpu*/mig/gi*/ci*/access"))
    return sum(minor is not None and minor.isdecimal() and int(minor) in given for minor in minors)


def _names_mig(listed: list[str]) -> bool:
    """MIG devices are listed as MIG-<uuid> or as <gpu>:<instance>."""
    return all(entry.startswith("MIG-") or ":" in entry for entry in listed)


def _nvidia_product(root: Path) -> str | None:
    for information in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        if product := _field(information, "Model:"):
            return product
    return None


def _rocm(environment: Mapping[str, str], root: Path) -> tuple[int, str | None]:
    """Count the nodes of the KFD topology that have compute units and whose render node is mounted.

    A node that this container may not use cannot be read, or is read and lacks its /dev/dri/renderD<minor>.
    """
    if not (root / "dev/kfd").exists():
        return 0, None
    rendering = set(_numbered(root / "dev/dri", r"renderD(\d+)"))
    found = []
    for node in (root / "sys/class/kfd/kfd/topology/nodes").glob("*"):
        properties = _properties(node / "properties")
        if properties.get("simd_count", 0) > 0 and properties.get("drm_render_minor", -1) in rendering:
            found.append((properties["drm_render_minor"], properties.get("gfx_target_version", 0)))
    # HIP numbers what ROCr has left; PyTorch also heeds CUDA's variable.
    count = _narrowed(len(found), environment.get("ROCR_VISIBLE_DEVICES"))
    hip = environment.get("HIP_VISIBLE_DEVICES", environment.get("CUDA_VISIBLE_DEVICES"))
    count = _narrowed(count, hip)
    if not found:
        return 0, None
    minor, target = min(found)
    name = _text(root / f"sys/class/drm/renderD{minor}/device/product_name")
    return count, name or _gfx(target)


def _gfx(target: int) -> str | None:
    """Name an instruction set: 90402 is gfx942; minor and stepping are hexadecimal digits."""
    if target <= 0:
        return None
    return f"gfx{target // 10000}{target // 100 % 100:x}{target % 100:x}"


def _gaudi(environment: Mapping[str, str], root: Path) -> tuple[int, str | None]:
    """Count Habana's /dev/accel/accel<N>; /dev/hl<N> with drivers before the accel subsystem.

    Other makers' inference processors share /dev/accel, so the PCI vendor decides there.
    """
    found = [
        root / f"sys/class/accel/accel{number}"
        for number in _numbered(root / "dev/accel", r"accel(\d+)")
        if _text(root / f"sys/class/accel/accel{number}/device/vendor") == _HABANA
    ]
    if not found:
        found = [root / f"sys/class/habanalabs/hl{number}" for number in _numbered(root / "dev", r"hl(\d+)")]
    asked = environment.get("HABANA_VISIBLE_DEVICES")
    count = len(found)
    if asked not in (None, "", "all"):
        # Here the list names modules of the machine, not positions among what was given.
        count = min(count, len(_entries(asked)))
    modules = environment.get("HABANA_VISIBLE_MODULES")
    if modules not in (None, "", "all"):
        count = min(count, len(_entries(modules)))
    if not found:
        return 0, None
    return count, _text(found[0] / "device/device_type") or _text(found[0] / "device_type")


def _xpu(environment: Mapping[str, str], root: Path) -> tuple[int, str | None]:
    """Count Intel's /dev/dri/renderD<N> without the graphics inside the processor.

    Those are told by their fixed PCI address together with the class of a VGA controller: data-center cards
    are not of that class, and other cards sit behind a bridge.
    """
    found = []
    for minor in _numbered(root / "dev/dri", r"renderD(\d+)"):
        device = root / f"sys/class/drm/renderD{minor}/device"
        if _text(device / "vendor") != _INTEL:
            continue
        is_vga = (_text(device / "class") or "").startswith(_DISPLAY_CONTROLLER_VGA)
        if not (is_vga and device.resolve().name == _INTEGRATED_GRAPHICS):
            found.append(device)
    mask = environment.get("ZE_AFFINITY_MASK")
    count = len(found)
    if mask:
        count = min(count, len({entry.partition(".")[0] for entry in _entries(mask)}))
    return count, _text(found[0] / "device") if found else None


def _narrowed(count: int, visible: str | None) -> int:
    """Apply a variable such as CUDA_VISIBLE_DEVICES: unset shows all, an invalid entry ends the list."""
    if visible is None:
        return count
    shown: list[str] = []
    for entry in _entries(visible):
        is_position = is_count(entry) and int(entry) < count
        if not is_position and not entry.startswith(("GPU-", "MIG-")):
            break
        if entry not in shown:
            shown.append(entry)
    return min(count, len(shown))


def _entries(value: str | None) -> list[str]:
    return [entry.strip() for entry in (value or "").split(",") if entry.strip()]


def _numbered(directory: Path, pattern: str) -> list[int]:
    """Return the numbers of the directory's entries that match, in order; none where it cannot be read."""
    try:
        matches = [re.fullmatch(pattern, entry.name) for entry in directory.iterdir()]
    except OSError:
        return []
    return sorted(int(match[1]) for match in matches if match)


def _text(path: Path) -> str | None:
    """Return a small file's content, None where it cannot be read or is empty."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _field(path: Path, name: str) -> str | None:
    """Return what follows a name at the beginning of a line."""
    for line in (_text(path) or "").splitlines():
        if line.startswith(name):
            return line.removeprefix(name).strip() or None
    return None


def _properties(path: Path) -> dict[str, int]:
    """Read the KFD's lines of a name and a number."""
    pairs = (line.split() for line in (_text(path) or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
