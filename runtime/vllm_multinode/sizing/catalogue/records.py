"""What an entry of the catalogue says: an accelerator, a node shape, a model."""

from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from vllm_multinode.contract.model import Frozen

Family = Literal["cuda", "rocm", "xpu", "gaudi", "cpu"]
Interconnect = Literal["nvlink", "xgmi", "xelink", "pcie", "roce", "none"]
System = Literal["kaito", "oci", "ai-on-eks"]
Provider = Literal["aws", "azure", "gcp", "oci", "server"]

_GIB = 1 << 30
_MIB_PER_GIB = 1024


class Entry(Frozen):
    """What all entries have.

    Attributes:
        name: as users write it; letter case, blanks and underscores do not count.
        aliases: other names of the same thing.
        unconfirmed: figure -> why it is weak or absent.
        note: what a reader of the figures has to know.
        source: documents and repositories that the figures were read in.
    """

    name: str = Field(min_length=1)
    aliases: tuple[str, ...] = ()
    unconfirmed: dict[str, str] = Field(default_factory=dict)
    note: str = ""
    source: tuple[str, ...] = Field(min_length=1)

    @property
    def confirmed(self) -> bool:
        """Whether no figure of the entry is in doubt."""
        return not self.unconfirmed

    @model_validator(mode="after")
    def _doubts_name_figures(self) -> "Entry":
        unknown = self.unconfirmed.keys() - type(self).model_fields.keys()
        if unknown:
            raise ValueError(f"unconfirmed names no field: {sorted(unknown)}")
        return self


class Accelerator(Entry):
    """One unit of a Kubernetes resource.

    Attributes:
        memory_gb: what the vendor prints on it, GB; None for "cpu".
        driver_mib: what the driver reports in total, MiB; None where no listing was found.
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
    memory_gb: PositiveFloat | None = None
    driver_mib: PositiveInt | None = None
    bandwidth_gbs: PositiveFloat | None = None
    interconnect: Interconnect
    interconnect_gbs: PositiveFloat | None = None
    bf16_tflops: PositiveFloat | None = None
    fp16_tflops: PositiveFloat | None = None
    fp8: bool
    fp4: bool
    resource: str
    products: tuple[str, ...] = ()
    compute_capability: str | None = None
    tiles: PositiveInt = 1

    @property
    def memory_gib(self) -> float | None:
        """What an engine can have, GiB: the driver's total, else the printed size counted in decimal bytes.

        None for "cpu", whose memory is the host's. `driver_mib` is among `unconfirmed` where it is a guess.
        """
        if self.driver_mib is not None:
            return self.driver_mib / _MIB_PER_GIB
        return None if self.memory_gb is None else self.memory_gb * 1e9 / _GIB


class Shape(Entry):
    """One kind of node: an instance type of a cloud, or a server that many sell.

    Attributes:
        accelerator: name of an accelerator of this catalogue.
        accelerators: units in the node.
        memory_gib: the host's, as the provider counts it (some mean GB).
        vcpus: hardware threads, or what the provider calls vCPU.
        network_gbps: all of the node's interfaces together, Gb/s, one direction.
        rdma: whether that network carries RDMA (InfiniBand, RoCE, EFA).
    """

    provider: Provider
    accelerator: str
    accelerators: PositiveInt
    memory_gib: PositiveFloat | None = None
    vcpus: PositiveInt | None = None
    network_gbps: PositiveFloat | None = None
    rdma: bool = False


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
    weight_bytes: PositiveInt | None = None
    gated: bool | None = None
    listed_by: tuple[System, ...] = ()
