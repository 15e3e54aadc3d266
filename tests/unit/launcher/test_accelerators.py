from collections.abc import Callable
from pathlib import Path

import pytest

from vllm_multinode.launcher.accelerators import Accelerators, Kind, detect


def write(path: Path, content: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def nvidia(root: Path, devices: int, on_the_machine: int = 8) -> None:
    """All cards of the machine show in /proc where the devices were mounted by CDI."""
    for number in range(on_the_machine):
        information = f"Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t {number}\nDevice Minor: \t {number}\n"
        write(root / f"proc/driver/nvidia/gpus/0000:{number:02x}:00.0/information", information)
    for number in range(devices):
        write(root / f"dev/nvidia{number}")
    for name in ("nvidiactl", "nvidia-uvm", "nvidia-modeset"):
        write(root / "dev" / name)


def mig(root: Path, instances: int, given: int) -> None:
    """One card cut in `instances`, of which `given` are mounted; each has two capability devices."""
    nvidia(root, 1)
    for number in range(instances):
        instance = root / f"proc/driver/nvidia/capabilities/gpu0/mig/gi{number + 7}"
        for minor, path in ((2 * number + 3, instance), (2 * number + 4, instance / "ci0")):
            write(path / "access", f"DeviceFileMinor: {minor}\nDeviceFileMode: 292\nDeviceFileModify: 1\n")
            if number < given:
                write(root / f"dev/nvidia-caps/nvidia-cap{minor}")


def rocm(root: Path, devices: int, on_the_machine: int = 8) -> None:
    """Node 0 is the processor; the nodes of cards of others are there and not to be read."""
    write(root / "dev/kfd")
    nodes = root / "sys/class/kfd/kfd/topology/nodes"
    write(nodes / "0/properties", "cpu_cores_count 96\nsimd_count 0\ndrm_render_minor 0\nvendor_id 0\n")
    for number in range(on_the_machine):
        properties = f"cpu_cores_count 0\nsimd_count 1216\ndrm_render_minor {128 + number}\n"
        write(nodes / f"{number + 1}/properties", properties + "gfx_target_version 90402\nvendor_id 4098\n")
    for number in range(devices):
        write(root / f"dev/dri/renderD{128 + number}")


def pci(root: Path, name: str, address: str, files: dict[str, str]) -> None:
    """A class device with its link to a PCI device, as in /sys."""
    device = root / "sys/devices/pci0000:00" / address
    for file, content in files.items():
        write(device / file, content + "\n")
    link = root / "sys/class" / name / "device"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(device)


def intel(root: Path, cards: int, *, integrated: bool = False) -> None:
    minor = 128
    if integrated:
        write(root / f"dev/dri/renderD{minor}")
        files = {"vendor": "0x8086", "class": "0x030000", "device": "0xa780"}
        pci(root, f"drm/renderD{minor}", "0000:00:02.0", files)
        minor += 1
    for number in range(cards):
        write(root / f"dev/dri/renderD{minor + number}")
        files = {"vendor": "0x8086", "class": "0x038000", "device": "0x0bda"}
        pci(root, f"drm/renderD{minor + number}", f"0000:{number + 40:02x}:00.0", files)


def gaudi(root: Path, devices: int) -> None:
    for number in range(devices):
        write(root / f"dev/accel/accel{number}")
        write(root / f"dev/accel/accel_controlD{number}")
        files = {"vendor": "0x1da3", "device_type": "GAUDI2"}
        pci(root, f"accel/accel{number}", f"0000:{number + 50:02x}:00.0", files)


def old_gaudi(root: Path) -> None:
    for number in range(8):
        write(root / f"dev/hl{number}")
        write(root / f"dev/hl_controlD{number}")
        write(root / f"sys/class/habanalabs/hl{number}/device_type", "GAUDI\n")


def npu(root: Path) -> None:
    write(root / "dev/accel/accel0")
    pci(root, "accel/accel0", "0000:00:0b.0", {"vendor": "0x8086"})


H100 = "NVIDIA H100 80GB HBM3"

Case = tuple[Callable[[Path], None], dict[str, str], Kind, int, str | None]
CASES = [
    pytest.param(lambda root: nvidia(root, 4), {}, "cuda", 4, H100, id="nvidia"),
    pytest.param(
        lambda root: nvidia(root, 2), {"NVIDIA_VISIBLE_DEVICES": "all"}, "cuda", 2, H100, id="nvidia-all"
    ),
    pytest.param(
        lambda root: nvidia(root, 4), {"NVIDIA_VISIBLE_DEVICES": "void"}, "cuda", 4, H100, id="nvidia-by-cdi"
    ),
    pytest.param(
        lambda root: nvidia(root, 4),
        {"NVIDIA_VISIBLE_DEVICES": "/var/run/nvidia-container-devices"},
        "cuda",
        4,
        H100,
        id="nvidia-by-volume-mounts",
    ),
    pytest.param(
        lambda root: nvidia(root, 8),
        {"NVIDIA_VISIBLE_DEVICES": "GPU-a,GPU-b"},
        "cuda",
        2,
        H100,
        id="nvidia-listed",
    ),
    pytest.param(
        lambda root: nvidia(root, 8), {"NVIDIA_VISIBLE_DEVICES": "none"}, "cpu", 1, None, id="nvidia-none"
    ),
    pytest.param(
        lambda root: nvidia(root, 8), {"CUDA_VISIBLE_DEVICES": "0,3"}, "cuda", 2, H100, id="cuda-positions"
    ),
    pytest.param(
        lambda root: nvidia(root, 8), {"CUDA_VISIBLE_DEVICES": "0,9,1"}, "cuda", 1, H100, id="cuda-invalid"
    ),
    pytest.param(lambda root: nvidia(root, 8), {"CUDA_VISIBLE_DEVICES": ""}, "cpu", 1, None, id="cuda-empty"),
    pytest.param(
        lambda root: nvidia(root, 8), {"CUDA_VISIBLE_DEVICES": "-1"}, "cpu", 1, None, id="cuda-minus-one"
    ),
    pytest.param(
        lambda root: nvidia(root, 8),
        {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-a"},
        "cuda",
        1,
        H100,
        id="cuda-repeated",
    ),
    pytest.param(lambda root: mig(root, 7, 2), {}, "cuda", 2, H100, id="mig-by-capabilities"),
    pytest.param(
        lambda root: nvidia(root, 1),
        {"NVIDIA_VISIBLE_DEVICES": "MIG-a,MIG-b,MIG-c"},
        "cuda",
        3,
        H100,
        id="mig-by-uuid",
    ),
    pytest.param(
        lambda root: nvidia(root, 1),
        {"NVIDIA_VISIBLE_DEVICES": "0:0,0:1"},
        "cuda",
        2,
        H100,
        id="mig-by-position",
    ),
    pytest.param(
        lambda root: nvidia(root, 0), {"NVIDIA_VISIBLE_DEVICES": "all"}, "cpu", 1, None, id="driver-only"
    ),
    pytest.param(lambda root: rocm(root, 8), {}, "rocm", 8, "gfx942", id="rocm"),
    pytest.param(lambda root: rocm(root, 2), {}, "rocm", 2, "gfx942", id="rocm-two-of-eight"),
    pytest.param(
        lambda root: rocm(root, 8),
        {"ROCR_VISIBLE_DEVICES": "0,1,2,3", "HIP_VISIBLE_DEVICES": "0,1"},
        "rocm",
        2,
        "gfx942",
        id="rocm-hip-within-rocr",
    ),
    pytest.param(
        lambda root: rocm(root, 8), {"HIP_VISIBLE_DEVICES": "7,8"}, "rocm", 1, "gfx942", id="hip-invalid"
    ),
    pytest.param(lambda root: intel(root, 4), {}, "xpu", 4, "0x0bda", id="xpu"),
    pytest.param(
        lambda root: intel(root, 2, integrated=True), {}, "xpu", 2, "0x0bda", id="xpu-beside-integrated"
    ),
    pytest.param(lambda root: intel(root, 0, integrated=True), {}, "cpu", 1, None, id="integrated-alone"),
    pytest.param(
        lambda root: intel(root, 4), {"ZE_AFFINITY_MASK": "0.0,0.1,2"}, "xpu", 2, "0x0bda", id="xpu-mask"
    ),
    pytest.param(lambda root: gaudi(root, 8), {}, "gaudi", 8, "GAUDI2", id="gaudi"),
    pytest.param(
        lambda root: gaudi(root, 2),
        {"HABANA_VISIBLE_DEVICES": "6,7"},
        "gaudi",
        2,
        "GAUDI2",
        id="gaudi-modules",
    ),
    pytest.param(old_gaudi, {"HABANA_VISIBLE_DEVICES": "all"}, "gaudi", 8, "GAUDI", id="gaudi-before-accel"),
    pytest.param(npu, {}, "cpu", 1, None, id="another-makers-npu"),
    pytest.param(lambda _: None, {}, "cpu", 1, None, id="nothing"),
]


@pytest.mark.parametrize(("machine", "environment", "kind", "count", "product"), CASES)
def test_what_a_pod_was_given(
    tmp_path: Path,
    machine: Callable[[Path], None],
    environment: dict[str, str],
    kind: Kind,
    count: int,
    product: str | None,
) -> None:
    machine(tmp_path)
    assert detect(environment, root=tmp_path) == Accelerators(kind, count, product)


def test_a_choice_is_kept_even_where_there_is_none(tmp_path: Path) -> None:
    nvidia(tmp_path, 4)
    assert detect({}, "rocm", root=tmp_path) == Accelerators("rocm", 0, None)
    assert detect({}, "cuda", root=tmp_path).count == 4


def test_a_cpu_engine_has_the_slots_that_it_was_given(tmp_path: Path) -> None:
    nvidia(tmp_path, 4)
    assert detect({}, "cpu", 3, tmp_path) == Accelerators("cpu", 3, None)


def test_a_marketing_name_is_preferred(tmp_path: Path) -> None:
    rocm(tmp_path, 1)
    write(tmp_path / "sys/class/drm/renderD128/device/product_name", "AMD Instinct MI300X\n")
    assert detect({}, root=tmp_path).product == "AMD Instinct MI300X"


@pytest.mark.parametrize("kind", ["cuda", "rocm", "xpu", "gaudi"])
def test_this_machines_own_devices(kind: Kind) -> None:
    found = detect({}, kind)
    if not found.count:
        pytest.skip(
            f"no {kind} device here: counting real ones was only tried on trees of files made after them"
        )
    assert found.count > 0
