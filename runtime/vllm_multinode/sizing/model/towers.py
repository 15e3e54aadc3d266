"""Vision and audio towers with the projectors that lead into the language model."""

import math
from collections.abc import Callable, Mapping

from vllm_multinode.sizing.model.fields import MOST_LAYERS, Fields
from vllm_multinode.sizing.model.weights import Weight, matrix, vector

_CONFIGS = ("vision_config", "audio_config", "vit_config", "sound_config")
_WIDTH = ("embed_dim", "hidden_size", "d_model", "width", "vt_hidden_size")
_DEPTH = ("depth", "num_hidden_layers", "encoder_layers", "layers", "vt_num_hidden_layers")
_NESTED = "thinker_config"
_MOST_MERGED = 16
# The processors of Qwen's models take 12.8 million pixels at 28 x 28 a token, later ones 16.8 at 32 x 32.
_QWEN_IMAGE = 16384
Builder = Callable[[Fields, Fields, int], list[Weight]]


def tower_weights(outer: Fields, text: Fields, hidden: int) -> tuple[tuple[Weight, ...], tuple[str, ...]]:
    """Weights of all towers, and what was guessed of them.

    Args:
        outer: the configuration.
        text: the language model's part of it.
        hidden: width of the language model.

    Raises:
        MultinodeError: MODEL_CONFIG, with the field's name.
    """
    thinker = outer.inner(_NESTED)
    holder = thinker if thinker is not None else outer
    weights: list[Weight] = []
    guesses = []
    for name in _CONFIGS:
        tower = holder.inner(name)
        if tower is None or not tower.values or tower.values is text.values:
            continue
        kind = tower.model_type or holder.model_type
        known = Fields({**tower.values, "model_type": _default_type(kind, holder.model_type)}, tower.place)
        builder = _BUILDERS.get(known.model_type)
        if builder is None:
            guesses.append(f"{tower.place}: model_type {kind!r} is unknown; its size is an estimate.")
        if builder is None and (known.get(*_WIDTH) is None or known.get(*_DEPTH) is None):
            guesses[-1] = f"{tower.place}: model_type {kind!r} is unknown; it is not counted in the weights."
            continue
        found = (builder or _plain)(known, outer, hidden)
        weights += [weight._replace(name=f"visual.{weight.name}") for weight in found]
    return tuple(weights), tuple(guesses)


def patches_per_token(outer: Fields) -> int:
    """Patches of an image that become one token; 1 where the configuration tells nothing."""
    tower = outer.inner("vision_config")
    if tower is None or not tower.values:
        return 1
    if tower.says("merge_kernel_size"):
        return _merged(tower)
    side = tower.get("spatial_merge_size") or outer.get("spatial_merge_size")
    if isinstance(side, int) and 0 < side <= _MOST_MERGED:
        return side * side
    if outer.model_type == "gemma3":
        known = Fields(tower.values, tower.place, "siglip_vision_model")
        patches: int = (_side(known) // known.count("patch_size", default=14, most=1 << 10)) ** 2
        return max(1, patches // outer.count("mm_tokens_per_image", default=256, most=1 << 20))
    if outer.model_type in ("llama4", "internvl_chat", "internvl"):
        return 4
    return 1


def greatest_item(outer: Fields) -> int:
    """Tokens of the largest image that the processor does not shrink; 0 where it is no more than a batch."""
    return _QWEN_IMAGE if outer.model_type.startswith("qwen") else 0


def _default_type(kind: str, outer: str) -> str:
    """Whose class defaults a tower takes that has no type of its own, or the whole model's."""
    known = {
        "qwen2_vl": "qwen2_vl_vision", "qwen2_5_vl": "qwen2_5_vl_vision", "qwen3_vl": "qwen3_vl_vision",
        "qwen3_vl_moe": "qwen3_vl_moe_vision", "qwen3_5": "qwen3_5_vision",
        "qwen3_5_moe": "qwen3_5_moe_vision",
        "gemma3": "siglip_vision_model", "llama4": "llama4_vision_model", "mistral3": "pixtral",
        "llava": "clip_vision_model", "llava_next": "clip_vision_model", "intern_vit_6b": "internvl_vision",
        "glm4v": "glm4v_vision", "glm4v_moe": "glm4v_moe_vision",
    }  # fmt: skip
    return known.get(kind, kind) or known.get(outer, "")


def _stack(
    config: Fields, wide: int, *, gated: bool = False, bias: bool = True, norm_bias: bool = True
) -> list[Weight]:
    """The layers of a vision transformer."""
    width, count = _width(config), _depth(config)
    norms = 2 * width * (2 if norm_bias else 1)
    found = [
        matrix("blocks.attn.qkv", 3 * width, width, copies=count),
        matrix("blocks.attn.proj", width, width, copies=count),
        matrix("blocks.mlp.fc1", wide * (2 if gated else 1), width, copies=count),
        matrix("blocks.mlp.fc2", width, wide, copies=count),
        vector("blocks.norm", norms, copies=count),
    ]
    if bias:
        found.append(
            vector("blocks.attn.qkv.bias", 3 * width + wide * (2 if gated else 1), "divided", copies=count)
        )
        found.append(vector("blocks.attn.proj.bias", 2 * width, copies=count))
    return found


def _width(config: Fields) -> int:
    return config.count(*_WIDTH)


def _depth(config: Fields) -> int:
    return config.count(*_DEPTH, most=MOST_LAYERS)


def _patches(config: Fields, frames: int = 1, *, bias: bool = True) -> Weight:
    """The convolution that makes patches; its matrix is on every rank."""
    width = _width(config)
    channels = config.count("in_channels", "in_chans", "num_channels", default=3, most=1 << 10)
    side = config.count("patch_size", default=14, most=1 << 10)
    return Weight("patch_embed", width, channels * frames * side * side + (1 if bias else 0))


def _positions(config: Fields, extra: int = 0) -> Weight:
    image, side = _side(config), config.count("patch_size", default=14, most=1 << 10)
    return Weight("position_embedding", (image // side) ** 2 + extra, _width(config))


def _side(config: Fields) -> int:
    given = config.get("image_size")
    if isinstance(given, list) and given:
        return config.whole(given[0], "image_size", most=1 << 20)
    return config.count("image_size", default=224, most=1 << 20)


def _merger(config: Fields, out: int, norm: int, *, count: int = 1, name: str = "merger") -> list[Weight]:
    """Qwen's: neighbouring patches side by side through two layers."""
    side = config.count("spatial_merge_size", default=2, most=64)
    wide = _width(config) * side * side
    return [
        matrix(f"{name}.mlp.0", wide, wide, copies=count),
        matrix(f"{name}.mlp.2", out, wide, copies=count),
        vector(f"{name}.mlp.0.bias", wide, "divided", copies=count),
        vector(f"{name}.mlp.2.bias", out + norm, copies=count),
    ]


def _qwen2(config: Fields, _outer: Fields, hidden: int) -> list[Weight]:
    width = _width(config)
    ratio = config.count("mlp_ratio", default=4, most=64)
    frames = config.count("temporal_patch_size", default=2, most=64)
    return [
        *_stack(config, ratio * width),
        _patches(config, frames, bias=False),
        *_merger(
            config, (config.values.get("hidden_size") and config.count("hidden_size")) or hidden, 2 * width
        ),
    ]


def _qwen2_5(config: Fields, _outer: Fields, hidden: int) -> list[Weight]:
    config = Fields(
        {**config.values, "embed_dim": config.count("hidden_size")}, config.place, config.model_type
    )
    out = config.count("out_hidden_size", default=hidden) if config.says("out_hidden_size") else hidden
    frames = config.count("temporal_patch_size", default=2, most=64)
    stack = _stack(config, config.count("intermediate_size"), gated=True, norm_bias=False)
    return [*stack, _patches(config, frames, bias=False), *_merger(config, out, _width(config))]


def _qwen3(config: Fields, _outer: Fields, hidden: int) -> list[Weight]:
    out = config.count("out_hidden_size", default=hidden) if config.says("out_hidden_size") else hidden
    frames = config.count("temporal_patch_size", default=2, most=64)
    width = _width(config)
    found = [
        *_stack(config, config.count("intermediate_size")),
        _patches(config, frames),
        Weight("pos_embed", config.count("num_position_embeddings", default=2304, most=1 << 20), width),
        *_merger(config, out, 2 * width),
    ]
    given = config.values.get("deepstack_visual_indexes")
    deep = len(given) if isinstance(given, list) else (0 if config.model_type.startswith("qwen3_5") else 3)
    side = config.count("spatial_merge_size", default=2, most=64)
    return (
        [*found, *_merger(config, out, 2 * width * side * side, count=deep, name="deepstack")]
        if deep
        else found
    )


def _siglip(config: Fields, outer: Fields, hidden: int) -> list[Weight]:
    width = _width(config)
    found = [*_stack(config, config.count("intermediate_size")), _patches(config), _positions(config)]
    found.append(vector("post_layernorm", 2 * width))
    return [*found, *_projector(config, outer, hidden)]


def _clip(config: Fields, outer: Fields, hidden: int) -> list[Weight]:
    stack = _stack(config, config.count("intermediate_size"))
    layer = outer.get("vision_feature_layer")
    if isinstance(layer, int) and -_depth(config) < layer < -1:
        # The layers behind the one whose output is used are not loaded.
        unused = {"blocks": -layer - 1}
        stack = [w._replace(copies=w.copies - unused["blocks"]) for w in stack]
        stack += [w._replace(copies=unused["blocks"], loaded=False) for w in stack]
    return [
        *stack,
        _patches(config, bias=False),
        _positions(config, extra=1),
        vector("pre_layrnorm", 3 * _width(config)),
        Weight("post_layernorm", 2 * _width(config), loaded=False),
        *_projector(config, outer, hidden),
    ]


def _projector(config: Fields, outer: Fields, hidden: int) -> list[Weight]:
    """From the tower's width into the language model's."""
    width = _width(config)
    if outer.model_type == "gemma3":
        return [Weight("projector", hidden + 1, width)]
    return [
        matrix("projector.linear_1", hidden, width),
        matrix("projector.linear_2", hidden, hidden),
        vector("projector.linear_1.bias", hidden, "divided"),
        vector("projector.linear_2.bias", hidden),
    ]


def _pixtral(config: Fields, outer: Fields, hidden: int) -> list[Weight]:
    width = _width(config)
    wide = config.count("intermediate_size", default=4 * width)
    found = [
        *_stack(config, wide, gated=True, bias=False, norm_bias=False),
        _patches(config, bias=False),
        vector("ln_pre", width),
    ]
    side = outer.count("spatial_merge_size", default=1, most=64)
    if outer.model_type == "mistral3":
        found.append(Weight("projector.norm", width))
        found.append(matrix("projector.patch_merger", width, width * side * side, "replicated"))
        return [
            *found,
            matrix("projector.linear_1", hidden, width),
            matrix("projector.linear_2", hidden, hidden),
        ]
    return [*found, *_projector(config, outer, hidden)]


def _llama4(config: Fields, _outer: Fields, hidden: int) -> list[Weight]:
    width = _width(config)
    inner = config.count("projector_input_dim", default=4096)
    out = config.count("projector_output_dim", default=4096)
    given = config.get("pixel_shuffle_ratio")
    ratio = given if isinstance(given, float) and 0 < given <= 1 else 0.5
    shuffled = int(width / ratio**2)
    return [
        *_stack(config, config.count("intermediate_size")),
        _patches(config, bias=False),
        _positions(config, extra=1),
        vector("layernorms", 5 * width),
        matrix("vision_adapter.fc1", inner, shuffled),
        matrix("vision_adapter.fc2", out, inner),
        matrix("projector", hidden, config.count("vision_output_dim", default=out)),
    ]


def _internvl(config: Fields, _outer: Fields, hidden: int) -> list[Weight]:
    width = _width(config)
    return [
        *_stack(config, config.count("intermediate_size")),
        vector("blocks.ls", 2 * width, copies=_depth(config)),
        _patches(config),
        _positions(config, extra=1),
        vector("class_embedding", width),
        vector("mlp1.0", 8 * width),
        Weight("mlp1.1", hidden, 4 * width + 1),
        Weight("mlp1.3", hidden, hidden + 1),
    ]


def _moonvit(config: Fields, _outer: Fields, hidden: int) -> list[Weight]:
    """Kimi's: neighbouring patches side by side through two layers that every rank has whole."""
    named = {"hidden_size": "vt_hidden_size", "intermediate_size": "vt_intermediate_size"}
    named["num_hidden_layers"] = "vt_num_hidden_layers"
    own = {to: config.values[name] for to, name in named.items() if name in config.values}
    config = Fields({**config.values, **own}, config.place, config.model_type)
    width, merged = _width(config), _width(config) * _merged(config)
    rows = config.count("init_pos_emb_height", default=64, most=1 << 12)
    columns = config.count("init_pos_emb_width", default=64, most=1 << 12)
    return [
        *_stack(config, config.count("intermediate_size")),
        _patches(config),
        Weight("position_embedding", rows * columns, width),
        vector("norms", 4 * width),
        matrix("projector.linear_1", merged, merged, "replicated"),
        matrix("projector.linear_2", hidden, merged, "replicated"),
        vector("projector.bias", merged + hidden),
    ]


def _merged(config: Fields) -> int:
    """Patches that are joined into a token."""
    given = config.values.get("merge_kernel_size")
    sides = given if isinstance(given, list) and len(given) == 2 else [2, 2]
    return math.prod(config.whole(side, "merge_kernel_size", most=_MOST_MERGED) for side in sides)


def _plain(config: Fields, outer: Fields, hidden: int) -> list[Weight]:
    """A transformer of an unknown kind: four squares and a block of twice its width."""
    width = _width(config)
    wide = config.count("intermediate_size", "encoder_ffn_dim", default=4 * width)
    return [*_stack(config, wide), _patches(config), *_projector(config, outer, hidden)]


_BUILDERS: Mapping[str, Builder] = {
    "qwen2_vl_vision": _qwen2,
    "qwen2_5_vl_vision": _qwen2_5,
    "qwen3_vl_vision": _qwen3,
    "qwen3_vl_moe_vision": _qwen3,
    "qwen3_5_vision": _qwen3,
    "qwen3_5_moe_vision": _qwen3,
    "siglip_vision_model": _siglip,
    "clip_vision_model": _clip,
    "pixtral": _pixtral,
    "llama4_vision_model": _llama4,
    "internvl_vision": _internvl,
    "kimi_k25": _moonvit,
    "kimi_k25_vision": _moonvit,
    "moonvit": _moonvit,
}
