"""Starts vLLM on CPU with random weights and asks its workers what they hold.

    python tests/truth/running_engine.py FOLDER PP > sizes.json

Prints tokens of a block, how many blocks there are, the blocks that one request may hold, and for every stage
its layers and the bytes of a block. Parameters are not counted here: CPU kernels repack them while loading.
"""

import json
import os
import sys
from typing import Any

os.environ |= {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
}
CONTEXT = 512


def held(worker: Any) -> dict[str, Any]:
    """What one worker holds."""
    runner = worker.model_runner
    config = runner.kv_cache_config
    inner = next(one for one in runner.model.modules() if hasattr(one, "start_layer"))
    size = max((tensor.size for tensor in config.kv_cache_tensors), default=0)
    return {
        "layers": [inner.start_layer, inner.end_layer],
        "block_bytes": size // config.num_blocks,
    }


def main() -> None:
    """Print what an engine for the model in a folder holds."""
    from vllm import LLM
    from vllm.v1.core.kv_cache_utils import get_max_concurrency_for_kv_cache_config

    pp = int(sys.argv[2])
    # What libraries print stays out of the answer.
    answer, sys.stdout = sys.stdout, sys.stderr
    os.dup2(2, 1) if answer.fileno() != 1 else None
    engine = LLM(
        sys.argv[1], skip_tokenizer_init=True, load_format="dummy", enforce_eager=True, max_model_len=CONTEXT,
        max_num_batched_tokens=CONTEXT, max_num_seqs=4, pipeline_parallel_size=pp,
        distributed_executor_backend="mp" if pp > 1 else "uni",
    )  # fmt: skip
    core = engine.llm_engine.engine_core.engine_core
    config = core.vllm_config
    cache = core.scheduler.kv_cache_config
    found = {
        "block_tokens": config.cache_config.block_size,
        "num_blocks": cache.num_blocks,
        "request_blocks": round(cache.num_blocks / get_max_concurrency_for_kv_cache_config(config, cache)),
        "in_flight": config.max_in_flight_tokens,
        "stages": engine.collective_rpc(held),
    }
    answer.write(json.dumps(found) + "\n")
    answer.flush()


if __name__ == "__main__":
    main()
