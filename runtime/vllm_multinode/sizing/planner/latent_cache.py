"""Bytes that a token of latent attention takes in the cache: plain numbers, or FlashMLA's packed entry."""

from vllm_multinode.engines.vllm import Vllm
from vllm_multinode.sizing.model.layers import LatentAttention
from vllm_multinode.sizing.planner.loading import BLACKWELL, WORKSTATION_BLACKWELL, Device

# FlashInfer's kernel serves as few heads as these before FlashMLA's, which pads them.
_FEW_HEADS = 16
# A scale of four bytes for so many numbers of the latent; positions stay in two bytes.
_SCALED, _SCALE, _POSITION = 128, 4, 2


def latent_entry(mixer: LatentAttention, tp: int, width: int, device: Device, version: Vllm) -> int:
    """Bytes of one token in one layer on every rank.

    Args:
        mixer: of the layer.
        tp: tensor parallel size; it divides heads, not the latent.
        width: bytes of a number of the cache.
        device: its kernels decide the layout.
        version: of the engine.
    """
    if _packs(mixer, tp, width, device, version):
        # fp8_ds_mla, 656 bytes for DeepSeek-V3.2 (flashmla_sparse.py).
        return mixer.kv_rank + -(-mixer.kv_rank // _SCALED) * _SCALE + mixer.rope_dim * _POSITION
    return (mixer.kv_rank + mixer.rope_dim) * width


def _packs(mixer: LatentAttention, tp: int, width: int, device: Device, version: Vllm) -> bool:
    """Whether the backend that vLLM chooses packs (platforms/cuda.py, layers/attention/mla_attention.py)."""
    if not mixer.index_heads or device.family != "cuda":
        return False
    if device.capability >= WORKSTATION_BLACKWELL:
        return True
    if width != 1:
        return False
    if device.capability < BLACKWELL:
        return True
    few = version.sparse_by_flashinfer == "few-heads" and mixer.heads // tp <= _FEW_HEADS
    return not few and version.sparse_by_flashinfer != "fp8"
