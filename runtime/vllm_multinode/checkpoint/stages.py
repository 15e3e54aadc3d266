"""How a model divides over ranks: what vLLM can split, where it cuts, which files a stage needs."""

from itertools import accumulate
from typing import TYPE_CHECKING

from vllm_multinode.checkpoint.parallel import Indivisible, heads_refusal, kv_heads_refusal, layers_refusal
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    # `plan` splits layers without a model directory, and is to start without what reads one.
    from vllm_multinode.checkpoint.model_directory import Model
    from vllm_multinode.checkpoint.shards import Shard


def check_parallel(model: "Model", tensor_parallel: int, pipeline_parallel: int) -> None:
    """Refuse sizes that this model cannot be split by. What the configuration does not tell is let pass.

    Args:
        model: what the model directory says.
        tensor_parallel: ranks that share every layer.
        pipeline_parallel: stages that share the layers.

    Raises:
        MultinodeError: HEADS or LAYERS.
    """
    tp = f"{env.TENSOR_PARALLEL_SIZE}={tensor_parallel}"
    pp = f"{env.PIPELINE_PARALLEL_SIZE}={pipeline_parallel}"
    if model.attention_heads is not None:
        _raise(model, ExitCode.HEADS, heads_refusal(model.attention_heads, tensor_parallel, tp))
    if model.kv_heads is not None:
        _raise(model, ExitCode.HEADS, kv_heads_refusal(model.kv_heads, tensor_parallel, tp))
    if model.hidden_layers is not None:
        _raise(model, ExitCode.LAYERS, layers_refusal(model.hidden_layers, pipeline_parallel, pp))


def _raise(model: "Model", code: ExitCode, refusal: Indivisible | None) -> None:
    if refusal is not None:
        raise MultinodeError(code, refusal.what, where=str(model.config_file), hint=refusal.hint)


def layer_split(layers: int, pipeline_parallel: int) -> tuple[int, ...]:
    """Hidden layers of each stage, as vLLM's `get_pp_indices` cuts them.

    The remainder goes one each to the stages before the last, from the back: first and last stage also hold
    the embeddings and the head; 10 layers on 4 stages are 2, 3, 3, 2. `VLLM_PP_LAYER_PARTITION`, which
    overrides this in vLLM, is not looked at.
    """
    each, remainder = divmod(layers, pipeline_parallel)
    split = [each] * pipeline_parallel
    for back in range(2, remainder + 2):
        split[-back] += 1
    return tuple(split)


def shards_of_stage(model: "Model", stage: int, pipeline_parallel: int) -> "tuple[Shard, ...]":
    """Return the weight files that hold a tensor of this stage, in the order in which the engine reads them.

    Embeddings belong to the first stage, and to the last as well where no head is stored (it is tied to
    them); the final norm, the head and layers past the last (for speculative decoding) to the last stage;
    whatever cannot be placed by its name to every stage.

    Args:
        model: what the model directory says.
        stage: number of the pipeline stage, from 0.
        pipeline_parallel: number of stages.
    """
    if model.hidden_layers is None or pipeline_parallel == 1:
        return model.shards
    ends = tuple(accumulate(layer_split(model.hidden_layers, pipeline_parallel)))
    begin = ends[stage - 1] if stage else 0
    is_last = stage == pipeline_parallel - 1
    tied = not any("head" in shard.parts for shard in model.shards)
    parts = {"other"}
    if stage == 0 or (is_last and tied):
        parts.add("embedding")
    if is_last:
        parts |= {"norm", "head"}

    def needed(shard: "Shard") -> bool:
        return bool(shard.parts & parts) or any(
            begin <= layer and (is_last or layer < ends[stage]) for layer in shard.layers
        )

    return tuple(shard for shard in model.shards if needed(shard))
