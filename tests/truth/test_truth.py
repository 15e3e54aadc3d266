"""The engine's own figures, asked again: the records hold, and a running engine lays out what is planned."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unit.sizing.models import DATA, small
from vllm_multinode.checkpoint.stages import layer_split
from vllm_multinode.sizing.model.architecture import read_architecture
from vllm_multinode.sizing.planner import kv_cache as cache_module
from vllm_multinode.sizing.planner.kv_cache import kv_cache

pytestmark = pytest.mark.truth
HERE = Path(__file__).parent
# One of each: GQA, experts with sliding windows in MXFP4, MLA with FP8 blocks, a hybrid, a tower with tied
# embeddings, AWQ.
AGAIN = ("llama-3.1-8b", "gpt-oss-120b", "deepseek-v3", "qwen3-next-80b", "gemma-3-4b", "qwen2.5-7b-awq")
CONTEXT = 512


def asked(program: str, *arguments: str) -> dict[str, Any]:
    """What one of the programs beside this file answers, its lines joined."""
    ended = subprocess.run(
        [sys.executable, HERE / program, *arguments], capture_output=True, text=True, timeout=280, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return {key: value for line in ended.stdout.splitlines() for key, value in json.loads(line).items()}


@pytest.mark.parametrize(
    ("program", "record"),
    [
        pytest.param("engine_sizes.py", "engine.json", id="vllm"),
        pytest.param("transformers_sizes.py", "transformers.json", id="transformers"),
    ],
)
def test_the_record_is_what_is_answered_now(program: str, record: str) -> None:
    recorded = json.loads((DATA / record).read_text())
    found = asked(program, str(DATA / "configs.json"), *AGAIN)
    assert found == {name: recorded[name] for name in AGAIN}


LATENT = {
    "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "kv_lora_rank": 512,
    "q_lora_rank": None, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "head_dim": 64,
    "num_attention_heads": 4, "num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 128, "first_k_dense_replace": 1, "n_shared_experts": 1,
}  # fmt: skip
WINDOWS = {
    "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "sliding_window": 64,
    "sliding_window_pattern": 3, "head_dim": 64, "query_pre_attn_scalar": 64, "num_hidden_layers": 6,
}  # fmt: skip
EXPERTS = {
    "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_local_experts": 4,
    "num_experts_per_tok": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "pp"),
    [
        pytest.param({}, 1, id="grouped-queries"),
        pytest.param({}, 2, id="two-stages-of-five-layers"),
        pytest.param({"num_key_value_heads": 1}, 1, id="one-kv-head"),
        pytest.param(LATENT, 1, id="latent"),
        pytest.param(WINDOWS, 1, id="windows"),
        pytest.param(EXPERTS, 1, id="experts"),
    ],
)
def test_a_running_engine(
    fields: dict[str, Any], pp: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(
        hidden_size=256, intermediate_size=512, num_hidden_layers=5, num_attention_heads=8,
        num_key_value_heads=2, head_dim=32, vocab_size=1024,
    ) | fields  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = asked("running_engine.py", str(tmp_path), str(pp))
    # The CPU's kernels take other blocks than a GPU's.
    for name in ("_BLOCK", "_LATENT_BLOCK"):
        monkeypatch.setattr(cache_module, name, found["block_tokens"])
    model = read_architecture(config)
    cache = kv_cache(model, 1, pp, in_flight=found["in_flight"])
    sizes = layer_split(len(model.layers), pp)
    assert [stage["layers"] for stage in found["stages"]] == [
        [sum(sizes[:number]), sum(sizes[: number + 1])] for number in range(pp)
    ]
    assert [stage["block_bytes"] for stage in found["stages"]] == list(cache.stage_block_bytes)
    assert cache.blocks(CONTEXT) == found["request_blocks"]
    held = (found["num_blocks"] - 1) // found["request_blocks"]
    assert cache.requests(found["num_blocks"], CONTEXT) == held
