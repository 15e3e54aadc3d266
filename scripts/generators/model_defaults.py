"""sizing/model/defaults.json: what transformers takes for a field that a config.json leaves out.

A published config.json holds only what differs from its class, so a reader needs the class defaults.
Needs transformers; run it when a new version knows architectures that `multinode plan` should know.
"""

import dataclasses
import json

from generators.repository import PACKAGE, AbsentError, Files

TARGET = PACKAGE / "sizing/model/defaults.json"
# The fields that sizes depend on; a model type without a width is not a language model or a tower.
_WIDTHS = ("hidden_size", "d_model", "n_embd", "embed_dim", "word_embed_proj_dim")
_LEFT_OUT = {
    "output_hidden_states", "return_dict", "chunk_size_feed_forward", "is_encoder_decoder", "use_cache",
    "initializer_range", "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "pretraining_tp",
    "output_router_logits", "router_aux_loss_coef", "norm_topk_prob", "routed_scaling_factor",
    "rope_interleave",
}  # fmt: skip
_LEFT_OUT_ENDS = (
    "_token_id",
    "_token_index",
    "_dropout",
    "_pdrop",
    "_coef",
    "_act",
    "_eps",
    "_multiplier",
    "_std",
)


def defaults(cls: type) -> dict[str, object]:
    """Return the plain default values of a configuration class, and its aliases under "_aliases"."""
    plain: dict[str, object] = {
        field.name: field.default
        for field in dataclasses.fields(cls)
        if isinstance(field.default, int)  # bool among them
        and field.name not in _LEFT_OUT
        and not field.name.endswith(_LEFT_OUT_ENDS)
    }
    if aliases := getattr(cls, "attribute_map", None):
        plain["_aliases"] = dict(aliases)
    return plain


def files() -> Files:
    """The file, one model type a line."""
    try:
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    except ImportError as error:
        raise AbsentError("transformers is not installed") from error
    known = {name: defaults(CONFIG_MAPPING[name]) for name in CONFIG_MAPPING}
    kept = {name: values for name, values in sorted(known.items()) if any(key in values for key in _WIDTHS)}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(values)}" for name, values in kept.items())
    return {TARGET: "{\n" + lines + "\n}\n"}
