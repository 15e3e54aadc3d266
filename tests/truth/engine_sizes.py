"""Asks vLLM how large a model's parts are: its layers are built without memory, one rank at a time.

    python tests/truth/engine_sizes.py tests/data/sizing/configs.json NAME... > sizes.json

No engine, no process group and no weight is made: parameters live on torch's meta device, and what a rank
asks of its group (size, own number) is answered by a stand-in. What only a GPU can choose, the kernel of a
quantised layer, is a stand-in as well; the parameters' shapes do not depend on it. The cache is laid out by
vLLM's own functions, with the blocks that its FlashAttention (of MLA: FlashMLA) takes.
"""

import contextlib
import importlib.machinery
import json
import os
import sys
import tempfile
import types
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

os.environ |= {
    "VLLM_LOGGING_LEVEL": "CRITICAL",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
# TP and PP that are tried; those that vLLM rejects are recorded as such.
CUTS = ((1, 1), (2, 1), (8, 1), (1, 3), (4, 4))
# Tokens of a block of attention layers before they are aligned with states; of MLA; tokens of requests.
BLOCK, LATENT_BLOCK, CONTEXTS = 16, 64, (512, 40_000)
_ABSENT = (
    "torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.transforms.v2",
    "torchvision.transforms.v2.functional", "torchvision.io", "torchvision.ops", "torchvision.ops.boxes",
    "torchaudio", "torchaudio.functional",
)  # fmt: skip
_CHOOSERS = {
    "init_fp8_linear_kernel": MagicMock(),
    "init_nvfp4_linear_kernel": MagicMock(),
    "select_fp8_moe_backend": (MagicMock(), MagicMock()),
    "select_nvfp4_moe_backend": (MagicMock(), MagicMock()),
    "select_unquantized_moe_backend": (MagicMock(), MagicMock()),
    "select_mxfp4_moe_backend": (MagicMock(), MagicMock()),
    # Kernels may ask for padding; that is theirs, not the model's.
    "mxfp4_round_up_hidden_size_and_intermediate_size": lambda _backend, hidden, wide: (hidden, wide),
}


class Group:
    """Answers for a process group of which only one rank exists."""

    def __init__(self, size: int, rank: int) -> None:
        self.world_size, self.rank_in_group, self.rank, self.local_rank = size, rank, rank, rank
        self.ranks, self.first_rank, self.last_rank = list(range(size)), 0, size - 1
        self.is_first_rank, self.is_last_rank = rank == 0, rank == size - 1
        self.device_group = self.cpu_group = types.SimpleNamespace(size=lambda: size, rank=lambda: rank)
        self.use_device_communicator, self.device_communicator, self.unique_name = False, None, "stand-in"


def stand_in_for_absent() -> None:
    """Make what a vision model imports for its preprocessing importable where it is not installed."""
    for name in _ABSENT:
        with contextlib.suppress(ImportError):
            __import__(name)
            continue
        module = types.ModuleType(name)
        module.__spec__, module.__path__ = importlib.machinery.ModuleSpec(name, None), []
        module.__dict__["__version__"] = "0"

        def lookup(attribute: str) -> Any:
            if attribute.startswith("__"):
                raise AttributeError(attribute)
            return MagicMock()

        module.__getattr__ = lookup  # type: ignore[method-assign]
        sys.modules[name] = module


def lift_the_cpus_limits() -> None:
    """Let layers be made that the CPU has no kernels for, with the blocks of a GPU's kernels."""
    import torch
    from vllm.model_executor.layers.fused_moe import config as experts
    from vllm.model_executor.models import bloom
    from vllm.platforms import current_platform
    from vllm.v1.attention.backend import MultipleOf
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    # FlashAttention's; the CPU's own kernel takes multiples of 32.
    CPUAttentionBackend.get_supported_kernel_block_sizes = lambda _spec=None: [MultipleOf(BLOCK)]
    # Experts of two matrices.
    experts.current_platform = MagicMock(wraps=current_platform, is_cuda_alike=lambda: True)
    # Sparse attention.
    platform = type(current_platform)
    dense = platform.get_attn_backend_cls

    def chosen(selected_backend: Any, attn_selector_config: Any, **more: Any) -> Any:
        return dense(selected_backend, attn_selector_config._replace(use_sparse=False), **more)

    platform.get_attn_backend_cls = staticmethod(chosen)
    # Slopes of positions are numbers, not parameters.
    slopes = bloom._get_alibi_slopes

    def on_cpu(heads: int) -> Any:
        with torch.device("cpu"):
            return slopes(heads)

    bloom._get_alibi_slopes = on_cpu


def build(folder: str, tp: int, pp: int, stage: int) -> tuple[Any, Any]:
    """Return vLLM's configuration and the model of the first TP rank of a stage."""
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.distributed import parallel_state
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.model_executor.models import registry

    # It asks a process of its own what a class can do, which has no stand-ins.
    registry._run_in_subprocess = lambda ask: ask()
    config = EngineArgs(
        model=folder, tokenizer=folder, skip_tokenizer_init=True, max_model_len=512, enforce_eager=True,
    ).create_engine_config()  # fmt: skip
    config.cache_config.block_size = LATENT_BLOCK if config.model_config.use_mla else BLOCK
    config.scheduler_config.disable_hybrid_kv_cache_manager = False
    config.parallel_config.tensor_parallel_size = tp
    config.parallel_config.pipeline_parallel_size = pp
    # The CPU platform computes recurrences in four bytes; what a GPU would do is the model's own choice.
    text = config.model_config.hf_text_config
    given = getattr(text, "mamba_ssm_cache_dtype", None) or getattr(text, "mamba_ssm_dtype", None)
    default = "float32" if text.model_type == "nemotron_h" else "auto"
    config.cache_config.mamba_ssm_cache_dtype = given or default
    for name, size, rank in (("_TP", tp, 0), ("_EP", tp, 0), ("_PP", pp, stage)):
        setattr(parallel_state, name, Group(size, rank))
    for name in ("_DP", "_DCP", "_PCP", "_EPLB", "_WORLD"):
        setattr(parallel_state, name, Group(1, 0))
    for module in [m for n, m in sys.modules.items() if n.startswith("vllm.") and m is not None]:
        for name, answer in _CHOOSERS.items():
            if name in vars(module):
                plain = callable(answer) and not isinstance(answer, MagicMock)
                setattr(module, name, answer if plain else (lambda *_a, _answer=answer, **_k: _answer))
    usual = torch.get_default_dtype()
    torch.set_default_dtype(config.model_config.dtype)
    try:
        with set_current_vllm_config(config), torch.device("meta"):
            model = initialize_model(vllm_config=config)
    finally:
        torch.set_default_dtype(usual)
    if config.model_config.is_hybrid:
        align_states(config)
    return config, model


def align_states(config: Any) -> None:
    """Let vLLM enlarge the blocks beside states, as its platforms do."""
    from vllm.platforms import current_platform
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    type(current_platform)._find_non_ssm_backends = staticmethod(lambda _config: [CPUAttentionBackend])
    current_platform._align_hybrid_block_size(config, CPUAttentionBackend)


def cache_specs(config: Any) -> dict[str, Any]:
    """What each layer of this rank keeps, by the layer's name, in vLLM's own words."""
    found = {}
    for name, layer in config.compilation_config.static_forward_context.items():
        spec = layer.get_kv_cache_spec(config) if hasattr(layer, "get_kv_cache_spec") else None
        if spec is not None:
            found[name] = spec
    return found


def layout(config: Any, stages: list[dict[str, Any]]) -> dict[str, Any]:
    """The cache as vLLM lays it out: bytes of a block on every stage, and blocks that a request holds."""
    from vllm.v1.attention.backends.utils import _DEFAULT_LAYOUT_PREFERENCE, resolve_kv_cache_layout
    from vllm.v1.core import kv_cache_utils

    merged = {name: spec for stage in stages for name, spec in stage.items()}
    if not merged:
        return {}
    config.cache_config.kv_cache_layout = None
    names = [one.name for one in _DEFAULT_LAYOUT_PREFERENCE]
    resolve_kv_cache_layout(config, [names], merged.values())
    config.scheduler_config.max_num_batched_tokens = 2048
    groups = kv_cache_utils.get_kv_cache_groups(config, merged)
    parts = [kv_cache_utils._project_kv_cache_groups_to_worker(groups, stage) for stage in stages]
    blocks = {}
    for context in CONTEXTS:
        config.model_config.max_model_len = context
        one = types.SimpleNamespace(num_blocks=10**12, kv_cache_groups=groups)
        blocks[context] = round(
            one.num_blocks / kv_cache_utils.get_max_concurrency_for_kv_cache_config(config, one)
        )
    return {
        "block_tokens": config.cache_config.block_size,
        "block_bytes": [kv_cache_utils._pool_bytes_per_block(config, part) for part in parts],
        "in_flight": config.max_in_flight_tokens,
        "blocks": blocks,
    }


def pages(specs: dict[str, Any]) -> dict[str, int]:
    """KV cache pages on this rank, "kind bytes reach" -> layers; bytes of a token, or of a whole state."""
    found: Counter[str] = Counter()
    for spec in specs.values():
        if hasattr(spec, "shapes"):
            found[f"state {spec.state_content_size_bytes} 0"] += 1
            continue
        window, chunk = getattr(spec, "sliding_window", None), getattr(spec, "attention_chunk_size", None)
        kind = type(spec).__name__
        rule = "window" if "SlidingWindow" in kind else "chunk" if "Chunked" in kind else "full"
        reach = {"window": window, "chunk": chunk}.get(rule) or 0
        found[f"{rule} {spec.unpadded_page_size_bytes // spec.block_size} {reach}"] += 1
    return dict(found)


def sizes(folder: str, tp: int, pp: int) -> dict[str, Any]:
    """Bytes of every stage's parameters and its pages; or vLLM's refusal."""
    weights: list[int] = []
    caches: list[dict[str, Any]] = []
    try:
        for stage in range(pp):
            config, model = build(folder, tp, pp, stage)
            tensors = {id(one): one.numel() * one.element_size() for one in model.parameters()}
            weights.append(sum(tensors.values()))
            caches.append(cache_specs(config))
        laid_out = layout(config, [dict(one) for one in caches])
    except Exception as error:  # noqa: BLE001 (whatever vLLM raises is its answer)
        return {"refused": f"{type(error).__name__}: {error}"[:200]}
    return {"weights": weights, "pages": [pages(one) for one in caches], "cache": laid_out}


def main() -> None:
    """Print the sizes of the named configurations as JSON, one model a line."""
    configs = json.loads(Path(sys.argv[1]).read_text())
    stand_in_for_absent()
    lift_the_cpus_limits()
    for name in sys.argv[2:] or list(configs):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(configs[name]))
            found = {f"{tp}x{pp}": sizes(folder, tp, pp) for tp, pp in CUTS}
        sys.stdout.write(f"{json.dumps({name: found})}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
