"""How a model divides over ranks: what vLLM can split, where it cuts, which files a stage needs."""

from itertools import accumulate

from vllm_multinode.checkpoint.model_directory import Model
from vllm_multinode.checkpoint.shards import Shard
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode


def check_parallel(model: Model, tensor_parallel: int, pipeline_parallel: int) -> None:
    """Refuse sizes that this model cannot be split by. What the configuration does not tell is let pass.

    Args:
        model: what the model directory says.
        tensor_parallel: ranks that share every layer.
        pipeline_parallel: stages that share the layers.

    Raises:
        MultinodeError: HEADS or LAYERS.
    """
    where = str(model.config_file)
    heads, kv_heads, layers = model.attention_heads, model.kv_heads, model.hidden_layers
    if heads is not None and heads % tensor_parallel:
        what = f"{heads} attention heads do not divide by TENSOR_PARALLEL_SIZE={tensor_parallel}."
        hint = f"Every rank takes an equal number of heads: use one of {_divisors(heads)}."
        raise MultinodeError(ExitCode.HEADS, what, where=where, hint=hint)
    if kv_heads is not None and max(kv_heads, tensor_parallel) % min(kv_heads, tensor_parallel):
        size = f"TENSOR_PARALLEL_SIZE={tensor_parallel}"
        what = f"{kv_heads} KV heads can be neither split nor repeated over {size}."
        hint = f"Use a divisor or a multiple of {kv_heads}."
        raise MultinodeError(ExitCode.HEADS, what, where=where, hint=hint)
    if layers is not None and layers < pipeline_parallel:
        what = f"{layers} hidden layers are fewer than PIPELINE_PARALLEL_SIZE={pipeline_parallel}."
        hint = f"Every stage needs a layer: use {layers} stages at most."
        raise MultinodeError(ExitCode.LAYERS, what, where=where, hint=hint)


def layer_split(layers: int, pipeline_parallel: int) -> list[int]:
    """Return how many hidden layers each stage holds, as vLLM's `get_pp_indices` cuts them.

    The remainder goes one each to the stages before the last, from the back: first and last stage also hold
    the embeddings and the head. `VLLM_PP_LAYER_PARTITION`, which overrides this in vLLM, is not looked at.
    """
    each, remainder = divmod(layers, pipeline_parallel)
    split = [each] * pipeline_parallel
    for back in range(2, remainder + 2):
        split[-back] += 1
    return split


def shards_of_stage(model: Model, stage: int, pipeline_parallel: int) -> tuple[Shard, ...]:
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
    ends = list(accumulate(layer_split(model.hidden_layers, pipeline_parallel)))
    begin = ends[stage - 1] if stage else 0
    is_last = stage == pipeline_parallel - 1
    tied = not any("head" in shard.parts for shard in model.shards)
    parts = {"other"}
    if stage == 0 or (is_last and tied):
        parts.add("embedding")
    if is_last:
        parts |= {"norm", "head"}

    def needed(shard: Shard) -> bool:
        return bool(shard.parts & parts) or any(
            begin <= layer and (is_last or layer < ends[stage]) for layer in shard.layers
        )

    return tuple(shard for shard in model.shards if needed(shard))


def _divisors(number: int) -> str:
    """List the divisors of a number of heads for a message."""
    found = [size for size in range(1, number + 1) if number % size == 0]
    return ", ".join(map(str, found))
