"""What loading leaves on a GPU beside the parameters: tables of positions, padding, and blocks that stay."""

from collections.abc import Iterator
from dataclasses import dataclass

from vllm_multinode.engines.vllm import Vllm
from vllm_multinode.sizing.catalogue.records import Family
from vllm_multinode.sizing.model.architecture import Architecture
from vllm_multinode.sizing.model.layers import Dense, Experts
from vllm_multinode.sizing.model.quantization import Scheme
from vllm_multinode.sizing.model.splits import layer_weights, weight_bytes
from vllm_multinode.sizing.model.stack import Layer
from vllm_multinode.sizing.model.weights import Weight, share

_MIB = 1 << 20
HOPPER = 9.0
BLACKWELL = 10.0
WORKSTATION_BLACKWELL = 12.0
# FlashInfer's FP8 experts without a gate come in multiples of this (align_fp8_moe_weights_for_fi).
_UNGATED_WIDTH = 128
# ROCm's kernels want rows that do not lie a multiple of 512 bytes apart: 256 bytes are put between them
# (VLLM_ROCM_MOE_PADDING, VLLM_ROCM_FP8_PADDING).
_ROCM_STRIDE, _ROCM_GAP = 512, 256
# The allocator of torch gives out multiples of this above 10 MiB.
_ALLOCATION = 2 * _MIB
# Layers that are moved one after another until each costs the same.
_REPEATS = 40
# ROCm measures weights by the device's free memory, which counts what its runtime takes meanwhile.
_ROCM_RUNTIME = 600 * _MIB


@dataclass(frozen=True, slots=True)
class Device:
    """What padding depends on.

    Attributes:
        family: of the accelerator.
        capability: CUDA's.
        unified: whether its memory is the processor's too.
    """

    family: Family = "cuda"
    capability: float = HOPPER
    unified: bool = False

    @property
    def is_hopper(self) -> bool:
        """Whether it is of compute capability 9."""
        return self.family == "cuda" and self.capability == HOPPER


@dataclass(frozen=True, slots=True)
class Extra:
    """Bytes on one rank beside the parameters.

    Attributes:
        tables: of positions, on every stage.
        runtime: on every stage.
        layers: of every layer: padding, and blocks that cannot be given back.
    """

    tables: int
    runtime: int
    layers: tuple[float, ...]

    def stage(self, start: int, size: int) -> float:
        """Of the stage that begins with this layer and has so many."""
        return self.tables + self.runtime + sum(self.layers[start : start + size])


def loaded_beside(model: Architecture, tp: int, device: Device, version: Vllm) -> Extra:
    """What a rank holds after loading and no parameter accounts for."""
    tables = sum(table.bytes(model.dtype_bytes) for table in model.rope)
    layers = _padding_of_layers(model, tp, device, version)
    runtime = _ROCM_RUNTIME if device.family == "rocm" else 0
    return Extra(tables, runtime, tuple(layers))


def _padding_of_layers(model: Architecture, tp: int, device: Device, version: Vllm) -> list[float]:
    """Of every layer; what is stored alike is counted once."""
    rocm, known = device.family == "rocm", {}
    layers = []
    for index, layer in enumerate(model.layers):
        named = ["mlp.experts.0.up_proj"] if layer.experts else []
        named += ["mlp.down_proj", "self_attn.o_proj"] if rocm else []
        key = (id(layer), *(_scheme(model, index, name) for name in named))
        if key not in known:
            known[key] = _of_layer(model, layer, index, tp, device, version) if named else 0.0
        layers.append(known[key])
    return layers


def _scheme(model: Architecture, index: int, name: str) -> Scheme | None:
    return model.quantization.scheme(f"model.layers.{index}.{name}")


def _of_layer(model: Architecture, layer: Layer, index: int, tp: int, device: Device, version: Vllm) -> float:
    padding = 0.0
    if (experts := layer.experts) is not None:
        scheme = _scheme(model, index, "mlp.experts.0.up_proj")
        padding += _expert_padding(model, experts, scheme, tp, device, version)
    if device.family == "rocm":
        padding += _moved(list(_rows(model, layer, index, tp)), unsplit=version.unsplit_loading)
    return padding


def _expert_padding(
    model: Architecture,
    experts: Experts,
    scheme: Scheme | None,
    tp: int,
    device: Device,
    version: Vllm,
) -> float:
    """Bytes by which experts grow to the multiples that their kernel wants."""
    if scheme is None:
        return 0.0
    hidden, inside = experts.latent or model.hidden, -(-experts.expert.intermediate // tp)
    own = ((inside, hidden), (hidden, inside))
    padded = _expert_shapes(experts.expert, scheme, hidden, inside, device, version)
    return experts.routed * (_expert_bytes(experts, scheme, padded) - _expert_bytes(experts, scheme, own))


# Rows and columns of a matrix up, and of the one down.
_Shapes = tuple[tuple[int, int], tuple[int, int]]


def _expert_shapes(
    expert: Dense, scheme: Scheme, hidden: int, inside: int, device: Device, version: Vllm
) -> _Shapes:
    """One expert on one rank as its kernel wants it (vLLM's oracle/mxfp4.py and flashinfer_utils.py)."""
    if scheme.form == "mxfp4":
        if version.mxfp4_on_hopper_by_triton and device.is_hopper:
            # Hopper's layout pads the side that is multiplied over.
            return (_up(inside, 64), _up(hidden, 256)), (hidden, _up(inside, 256))
        marlin = device.family == "cuda" and device.capability < BLACKWELL
        wide, deep = _up(hidden, 256), _up(inside, 128 if marlin else 256)
        return (deep, wide), (wide, deep)
    if scheme.form == "fp8" and not expert.gated and device.family == "cuda":
        inside = _up(inside, _UNGATED_WIDTH)
    return (inside, hidden), (hidden, inside)


def _expert_bytes(experts: Experts, scheme: Scheme, shapes: _Shapes) -> float:
    up, down = shapes
    return (2 if experts.expert.gated else 1) * scheme.matrix_bytes(*up) + scheme.matrix_bytes(*down)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _rows(model: Architecture, layer: Layer, index: int, tp: int) -> Iterator[tuple[float, float]]:
    """Bytes before and after of each matrix that ROCm's padding moves, in the order in which it is moved.

    Unquantised experts are moved as two tensors (up and gate are one), FP8 layers as their linear layers.
    """
    fused: dict[str, list[tuple[float, float]]] = {}
    for weight in layer_weights(layer, model.hidden):
        if not weight.linear or not weight.stored:
            continue
        scheme = _scheme(model, index, weight.name)
        expert = ".experts." in weight.name
        if (scheme is None) != expert or (scheme is not None and scheme.form not in ("fp8", "fp8-block")):
            continue
        before = share(weight_bytes(weight, model.dtype_bytes, scheme), weight.split, tp, weight.heads)
        row = _row_bytes(weight, tp, 1 if scheme else model.dtype_bytes)
        gap = _ROCM_GAP / row if row and row % _ROCM_STRIDE == 0 else 0.0
        fused.setdefault(_tensor(weight.name), []).append((before, before * (1 + gap)))
    for parts in fused.values():
        yield sum(before for before, _ in parts), sum(after for _, after in parts)


def _row_bytes(weight: Weight, tp: int, width: int) -> int:
    """Of one row on a rank: what is multiplied over is divided in the matrices that lead out of a block."""
    inner = weight.name.endswith(("down_proj", "o_proj", "out_proj"))
    return (weight.into // tp if inner else weight.into) * width


def _tensor(name: str) -> str:
    """Layers that vLLM loads into one tensor."""
    for parts, whole in ((("q_proj", "k_proj", "v_proj"), "qkv"), (("up_proj", "gate_proj"), "gate_up")):
        if name.endswith(parts):
            return name.rpartition(".")[0] + whole
    return name


def _moved(tensors: list[tuple[float, float]], *, unsplit: bool) -> float:
    """Bytes that moving the tensors of a layer into larger ones costs, where layer after layer does so.

    A copy takes the smallest freed block that holds it, else a new one. What remains of a block that was
    split stays: the allocator gives back whole blocks only, and does so after each copy.
    """
    moved = [(_allocated(before), _allocated(after)) for before, after in tensors if after > before]
    if unsplit or not moved:
        return sum(after - before for before, after in tensors)
    whole: list[int] = []
    remainders: list[int] = []
    taken, after_layer = 0, []
    for _ in range(_REPEATS):
        for before, after in moved:
            block = min((size for size in (*whole, *remainders) if size >= after), default=0)
            if not block:
                taken += after
            else:
                (whole if block in whole else remainders).remove(block)
                remainders.append(block - after)
            taken -= sum(whole)
            whole = [before]
        after_layer.append(taken)
    return (after_layer[-1] - after_layer[0]) / (_REPEATS - 1)


def _allocated(size: float) -> int:
    return _up(round(size), _ALLOCATION)
