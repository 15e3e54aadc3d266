"""What an entry of the catalogue says: an accelerator, a node shape, a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

Kind = Literal["accelerator", "shape", "model"]
Family = Literal["cuda", "rocm", "xpu", "gaudi", "cpu"]
Interconnect = Literal["nvlink", "xgmi", "xelink", "pcie", "roce", "none"]
System = Literal["kaito", "oci", "ai-on-eks"]
Provider = Literal["aws", "azure", "gcp", "oci", "server"]

_GIB = 1 << 30
_MIB_PER_GIB = 1024
# Of eight GPUs of 24 to 180 GiB: nvidia-smi's total less cudaMemGetInfo's.
_CUDA_KEEPS, _CUDA_KEEPS_OF = 0.37, 0.002


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What all entries have.

    Attributes:
        name: as users write it; letter case, blanks and underscores do not count.
        aliases: other names of the same thing.
        unconfirmed: figure -> why it is weak or absent.
        note: what a reader of the figures has to know.
        source: documents and repositories that the figures were read in.
    """

    name: str
    aliases: tuple[str, ...] = ()
    unconfirmed: dict[str, str] = field(default_factory=dict)
    note: str = ""
    source: tuple[str, ...]

    def __post_init__(self) -> None:
        names = [one.name for one in fields(self)]
        if unknown := self.unconfirmed.keys() - set(names):
            raise ValueError(f"unconfirmed names no field: {sorted(unknown)}")
        if not self.name or not self.source:
            raise ValueError("an entry has a name and a source")
        for name in names:
            value = getattr(self, name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
                raise ValueError(f"{name} is {value}, which is not above zero")

    @property
    def confirmed(self) -> bool:
        """Whether no figure of the entry is in doubt."""
        return not self.unconfirmed


@dataclass(frozen=True, kw_only=True)
class Accelerator(Entry):
    """One unit of a Kubernetes resource.

    Attributes:
        memory_gb: what the vendor prints on it, GB; None for "cpu".
        driver_mib: what the driver reports in total, MiB; None where no listing was found.
        engine_gib: what cudaMemGetInfo gives an engine in total, GiB, by start logs; None without any.
        unified: whether its memory is the processor's too.
        bandwidth_gbs: peak of its memory, GB/s.
        interconnect_gbs: what it can send to its peers in the node, one direction, peak, GB/s.
        bf16_tflops: peak of dense matrix multiplication, TFLOP/s; None where there is no bf16 or no source.
        fp16_tflops: the same in fp16, for those without bf16.
        fp8: whether it multiplies FP8 matrices.
        fp4: whether it multiplies FP4 matrices.
        resource: the Kubernetes resource.
        products: what node labels call it (NVIDIA's GPU feature discovery, AMD's node labeller).
        compute_capability: CUDA's.
        tiles: devices that a framework may see in one unit.
    """

    vendor: Literal["nvidia", "amd", "intel", "none"]
    family: Family
    memory_gb: float | None = None
    driver_mib: int | None = None
    engine_gib: float | None = None
    unified: bool = False
    bandwidth_gbs: float | None = None
    interconnect: Interconnect
    interconnect_gbs: float | None = None
    bf16_tflops: float | None = None
    fp16_tflops: float | None = None
    fp8: bool
    fp4: bool
    resource: str
    products: tuple[str, ...] = ()
    compute_capability: str | None = None
    tiles: int = 1

    @property
    def memory_gib(self) -> float | None:
        """The driver's total, GiB, else the printed size counted in decimal bytes.

        None for "cpu", whose memory is the host's. `driver_mib` is among `unconfirmed` where it is a guess.
        """
        if self.driver_mib is not None:
            return self.driver_mib / _MIB_PER_GIB
        return None if self.memory_gb is None else self.memory_gb * 1e9 / _GIB

    @property
    def engine_memory_gib(self) -> float | None:
        """What an engine sees, GiB: `engine_gib`, else the driver's total less what CUDA keeps of it.

        nvidia-smi counts what the driver reserves for itself, 0.4 GiB of 24 and 0.7 of 180; amd-smi does not.
        """
        total = self.memory_gib
        if self.engine_gib is not None or total is None or self.family != "cuda":
            return self.engine_gib or total
        return total - _CUDA_KEEPS - _CUDA_KEEPS_OF * total


@dataclass(frozen=True, kw_only=True)
class Shape(Entry):
    """One kind of node: an instance type of a cloud, or a server that many sell.

    Attributes:
        accelerator: name of an accelerator of this catalogue.
        accelerators: units in the node.
        memory_gib: the host's, as the provider counts it (some mean GB).
        vcpus: hardware threads, or what the provider calls vCPU.
        network_gbps: all of the node's interfaces together, Gb/s, one direction.
        rdma: whether that network carries RDMA (InfiniBand, RoCE, EFA).
        rdma_devices: interfaces that do, each a unit of the device plugin's resource; None for not read.
    """

    provider: Provider
    accelerator: str
    accelerators: int
    memory_gib: float | None = None
    vcpus: int | None = None
    network_gbps: float | None = None
    rdma: bool = False
    rdma_devices: int | None = None


@dataclass(frozen=True, kw_only=True)
class Model(Entry):
    """One model of a hub.

    Attributes:
        name: its id at the hub.
        config: the keys of its config.json that decide its tensors and its cache.
        weight_bytes: of all its safetensors files; None where no source gives it.
        gated: whether the hub asks for a licence to be accepted; None where it was not learnt.
        listed_by: systems with a preset, a sample or a chart for it.
    """

    config: dict[str, Any]
    weight_bytes: int | None = None
    gated: bool | None = None
    listed_by: tuple[System, ...] = ()


RECORDS: Mapping[Kind, type[Entry]] = {"accelerator": Accelerator, "shape": Shape, "model": Model}
"""The record of each kind."""
