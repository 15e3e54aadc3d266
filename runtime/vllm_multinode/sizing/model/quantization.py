"""What quantisation makes of a weight: which linear layers it replaces, and their bytes."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vllm_multinode.sizing.model.fields import Fields
from vllm_multinode.sizing.model.module_names import matches

# How the numbers of one linear layer are stored.
Format = Literal[
    "fp8", "fp8-block", "int8", "awq", "gptq", "packed", "mxfp4", "mxfp8", "nvfp4", "bnb4", "bnb8"
]

# quant_method of config.json -> how weights are stored where nothing else in it tells.
_METHODS: Mapping[str, Format] = {
    "fp8": "fp8", "fbgemm_fp8": "fp8", "ptpc_fp8": "fp8", "deepseek_v4_fp8": "fp8", "modelopt": "fp8",
    "awq": "awq", "awq_marlin": "awq", "auto_awq": "awq",
    "gptq": "gptq", "gptq_marlin": "gptq", "auto_gptq": "gptq", "auto-round": "gptq", "inc": "gptq",
    "moe_wna16": "gptq",
    "mxfp4": "mxfp4", "gpt_oss_mxfp4": "mxfp4", "mxfp8": "mxfp8", "modelopt_mxfp8": "mxfp8",
    "modelopt_fp4": "nvfp4", "nvfp4": "nvfp4", "experts_int8": "int8",
}  # fmt: skip
_SKIP_LISTS = (
    "ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules", "exclude",
    "llm_int8_skip_modules",
)  # fmt: skip
_SCALE = 4
_HALF = 2


@dataclass(frozen=True, slots=True)
class Scheme:
    """How the linear layers that match are stored.

    Attributes:
        form: the storage format.
        bits: of one number.
        group: numbers that share a scale; 0 for a whole row.
        block: rows and columns that share a scale, for fp8-block.
        zeros: whether zero points are stored.
        indexed: whether an order of activations is stored (GPTQ).
        scale_bytes: of one scale.
    """

    form: Format
    bits: int
    group: int = 0
    block: tuple[int, int] = (128, 128)
    zeros: bool = False
    indexed: bool = False
    scale_bytes: int = _HALF

    def matrix_bytes(self, out: int, into: int) -> float:
        """Bytes of one matrix of shape [out, into] with its scales."""
        numbers = out * into * self.bits / 8
        groups = -(-into // self.group) if self.group else 1
        if self.form == "fp8-block":
            return numbers + _SCALE * -(-out // self.block[0]) * -(-into // self.block[1])
        if self.form in ("mxfp4", "mxfp8"):
            return numbers + out * into / 32
        if self.form == "nvfp4":
            return numbers + out * into / (self.group or 16) + 2 * _SCALE
        if self.form == "bnb4":
            # One absolute maximum for 64 numbers, itself in a byte, with a table for every 256 of those.
            return numbers + out * into / 64 * (1 + _SCALE / 256)
        if self.form in ("awq", "gptq"):
            indexed = _SCALE * into if self.indexed else 0
            return numbers + groups * out * (self.bits / 8 + _HALF) + indexed
        zeros = groups * out * self.bits / 8 if self.zeros else 0
        return numbers + groups * out * self.scale_bytes + zeros


# quant_algo of ModelOpt's mixed precision -> how weights are stored.
_ALGORITHMS: Mapping[str, Scheme] = {
    "FP8": Scheme("fp8", 8, scale_bytes=_SCALE),
    "FP8_PER_CHANNEL_PER_TOKEN": Scheme("fp8", 8, scale_bytes=_SCALE),
    "FP8_PB_WO": Scheme("fp8-block", 8),
    "NVFP4": Scheme("nvfp4", 4, group=16),
    "W4A16_NVFP4": Scheme("nvfp4", 4, group=16),
    "MXFP8": Scheme("mxfp8", 8),
}
# What compressed-tensors' formats usually hold, for a configuration without groups.
_FORMATS = {
    "float-quantized": Scheme("fp8", 8),
    "int-quantized": Scheme("int8", 8),
    "naive-quantized": Scheme("int8", 8),
    "pack-quantized": Scheme("packed", 4, group=128),
    "nvfp4-pack-quantized": Scheme("nvfp4", 4, group=16),
    "mxfp4-pack-quantized": Scheme("mxfp4", 4, group=32),
}


@dataclass(frozen=True)
class Quantization:
    """The quantization_config of a model.

    Attributes:
        method: as config.json names it; empty without one.
        schemes: (targets, how); targets are module names, class names or patterns, empty for all.
        skipped: names or patterns of modules that stay as they are.
        head: whether the output head is quantised as well.
        experts_only: whether only experts are.
        block_rule: rows and columns that a rank's part must be a multiple of; None without such a rule.
        cache_fp8: whether the checkpoint asks for a KV cache in FP8, which vLLM then takes by itself.
        guesses: what was not understood.
    """

    method: str = ""
    schemes: tuple[tuple[tuple[str, ...], Scheme], ...] = ()
    skipped: tuple[str, ...] = ()
    head: bool = False
    experts_only: bool = False
    block_rule: tuple[int, int] | None = None
    cache_fp8: bool = False
    guesses: tuple[str, ...] = field(default=())

    def scheme(self, module: str) -> Scheme | None:
        """How the linear layer of this name is stored; None where it stays as it is."""
        if module not in self._known:
            self._known[module] = self._matching(module)
        return self._known[module]

    @functools.cached_property
    def _known(self) -> dict[str, Scheme | None]:
        """What was asked before: every size that is tried asks of the same modules."""
        return {}

    def _matching(self, module: str) -> Scheme | None:
        if not self.schemes or (self.experts_only and ".experts" not in module):
            return None
        if _tail(module) in ("lm_head", "embed_tokens") and not self.head:
            return None
        if matches(self.skipped, module):
            return None
        for targets, scheme in self.schemes:
            if not targets or "Linear" in targets or matches(targets, module):
                return scheme
        return None


def read_quantization(config: Fields, text: Fields) -> Quantization:
    """Read quantization_config (or compression_config) of a config.json, or of the language model inside it.

    Raises:
        MultinodeError: MODEL_CONFIG, where a field of it is no such number.
    """
    for holder in (config, text):
        for name in ("quantization_config", "compression_config"):
            found = holder.inner(name)
            if found is not None and found.values:
                return replace(_read(found), cache_fp8=_cache_fp8(found))
    return Quantization()


def _cache_fp8(config: Fields) -> bool:
    """Whether ModelOpt's configuration names FP8 for the cache.

    vLLM, utils/torch_utils.py: get_kv_cache_quant_algo_string; other methods do not choose the cache's type.
    """
    inner = config.inner("quantization")
    if inner is None and not config.text("quant_method").startswith("modelopt"):
        return False
    for holder in (inner, config):
        scheme = holder.values.get("kv_cache_scheme") if holder else None
        if isinstance(scheme, Mapping):
            return scheme.get("num_bits") == 8 and scheme.get("type") == "float" and not scheme.get("dynamic")
        if holder and holder.text("kv_cache_quant_algo"):
            return holder.text("kv_cache_quant_algo").upper() == "FP8"
    return False


def _read(config: Fields) -> Quantization:
    inner = config.inner("quantization")
    if inner is not None:
        # ModelOpt's own file has what config.json would hold one level further in.
        config = Fields({"quant_method": "modelopt", **config.values, **inner.values}, config.place)
    method = config.text("quant_method").lower().replace("_tensors", "-tensors")
    skipped = tuple(
        str(name)
        for key in _SKIP_LISTS
        for name in _plain_list(config.values.get(key))
        if isinstance(name, str)
    )
    dynamic = config.values.get("dynamic")
    if isinstance(dynamic, Mapping):
        skipped += tuple(f"re:{key[2:]}" for key in dynamic if isinstance(key, str) and key.startswith("-:"))
    head = config.flag("lm_head")
    if config.text("quant_algo").upper() == "MIXED_PRECISION" and config.says("quantized_layers"):
        return _mixed(config, method, skipped)
    if method == "compressed-tensors" or isinstance(config.values.get("config_groups"), Mapping):
        return _grouped(config, method or "compressed-tensors", skipped)
    if method in ("bitsandbytes", "bnb"):
        form: Format = "bnb8" if config.flag("load_in_8bit") and not config.flag("load_in_4bit") else "bnb4"
        bits = 8 if form == "bnb8" else 4
        return Quantization(method, (((), Scheme(form, bits, scale_bytes=_SCALE)),), skipped or ("lm_head",))
    scheme, guesses = _single(config, method)
    if scheme is None:
        return Quantization(method, guesses=guesses)
    experts_only = (scheme.form == "mxfp4" and not skipped) or method in ("experts_int8", "moe_wna16")
    rule = _rule(scheme)
    return Quantization(method, (((), scheme),), skipped, head, experts_only, rule, guesses=guesses)


def _single(config: Fields, method: str) -> tuple[Scheme | None, tuple[str, ...]]:
    """The one scheme of a method that has one."""
    form = _METHODS.get(method)
    algorithm = config.text("quant_algo").upper()
    if "FP4" in algorithm:
        form = "nvfp4"
    if form is None:
        bits = config.count("bits", "w_bit", "weight_bits", default=0, least=0, most=64)
        label = f"{config.place}: quant_method {method!r} is unknown; "
        if bits:
            guess = f"{label}{bits}-bit weights in groups of 128 are assumed."
            return Scheme("packed", bits, group=128), (guess,)
        return None, (f"{label}unquantised weights are assumed, the largest possible.",)
    if form == "fp8":
        block = _block(config)
        return (Scheme("fp8-block", 8, block=block) if block else Scheme("fp8", 8, scale_bytes=_SCALE)), ()
    if form in ("awq", "gptq"):
        bits = config.count("bits", "w_bit", default=4, most=16)
        group = config.count("group_size", "q_group_size", default=128, least=-1)
        return Scheme(form, bits, max(group, 0), indexed=form == "gptq"), ()
    bits = {"mxfp4": 4, "nvfp4": 4}.get(form, 8)
    group = config.count("group_size", default=16, least=0) if form == "nvfp4" else 0
    return Scheme(form, bits, group, scale_bytes=_SCALE), ()


def _mixed(config: Fields, method: str, skipped: tuple[str, ...]) -> Quantization:
    """ModelOpt's mixed precision: an algorithm for each module named, and the method for all others."""
    layers = config.inner("quantized_layers")
    targets: dict[Scheme, list[str]] = {}
    unknown = set()
    for name in layers.values if layers else ():
        recipe = layers.inner(name) if layers else None
        algorithm = recipe.text("quant_algo").upper() if recipe else ""
        scheme = _ALGORITHMS.get(algorithm)
        if scheme is None:
            unknown.add(algorithm)
        else:
            targets.setdefault(scheme, []).append(name)
    schemes = [(tuple(names), scheme) for scheme, names in targets.items()]
    head = any(_tail(name) == "lm_head" for names, _ in schemes for name in names)
    if method == "fp8":
        # What is left out of the other algorithms is what stays in FP8.
        base, _ = _single(config, method)
        schemes, skipped = [*schemes, *([((), base)] if base else [])], ()
    guesses = tuple(
        f"{config.place}: quant_algo {name!r} is unknown; its modules are assumed to be unquantised."
        for name in sorted(unknown)
    )
    rule = next((_rule(scheme) for _, scheme in schemes if _rule(scheme)), None)
    return Quantization(method, tuple(schemes), skipped, head, block_rule=rule, guesses=guesses)


def _grouped(config: Fields, method: str, skipped: tuple[str, ...]) -> Quantization:
    """compressed-tensors: groups of targets, each with a scheme of its own."""
    groups = config.inner("config_groups")
    schemes: list[tuple[tuple[str, ...], Scheme]] = []
    guesses = []
    for name in groups.values if groups else ():
        group = groups.inner(name) if groups else None
        weights = group.inner("weights") if group else None
        if group is None or weights is None:
            continue
        scheme = _from_arguments(weights, config.text("format") or group.text("format"))
        targets = tuple(str(target) for target in _plain_list(group.values.get("targets")))
        schemes.append((targets, scheme))
    if not schemes:
        usual = _FORMATS.get(config.text("format"))
        taken = f"as {usual.form}" if usual else "as unquantised"
        guesses.append(f"{config.place}: config_groups names no weights; they are taken {taken}.")
        schemes = [((), usual)] if usual else []
    # A group that names modules comes before one that takes all linear layers.
    schemes.sort(key=lambda pair: not pair[0] or "Linear" in pair[0])
    rule = next((_rule(scheme) for _, scheme in schemes), None)
    head = any(_tail(name) == "lm_head" for names, _ in schemes for name in names)
    return Quantization(method, tuple(schemes), skipped, head, block_rule=rule, guesses=tuple(guesses))


def _from_arguments(weights: Fields, form: str) -> Scheme:
    bits = weights.count("num_bits", default=8, most=16)
    group = weights.count("group_size", default=0, least=-1)
    kind, strategy = weights.text("type") or "int", weights.text("strategy")
    if kind == "float" and bits == 4:
        return Scheme("mxfp4" if group == 32 or "mxfp4" in form else "nvfp4", 4, group or 16)
    if kind == "float" and (strategy == "block" or weights.says("block_structure")):
        return Scheme("fp8-block", 8, block=_block(weights, "block_structure") or (128, 128))
    if bits >= 8:
        return Scheme("fp8" if kind == "float" else "int8", bits, max(group, 0))
    return Scheme("packed", bits, max(group, 0), zeros=not weights.flag("symmetric", default=True))


def _block(config: Fields, *names: str) -> tuple[int, int] | None:
    """Rows and columns of a scale's block."""
    found = _plain_list(config.values.get(names[0] if names else "weight_block_size"))
    if len(found) != 2:
        return None
    return config.whole(found[0], "weight_block_size"), config.whole(found[1], "weight_block_size")


def _rule(scheme: Scheme) -> tuple[int, int] | None:
    """Rows and columns that a rank's part must be a multiple of.

    A row-parallel part holds whole groups, and packed numbers of a column come in whole words.
    """
    if scheme.form == "fp8-block":
        return scheme.block
    if scheme.form in ("awq", "gptq", "packed", "nvfp4", "mxfp4") and scheme.bits < 8:
        return (1, {"mxfp4": 32, "nvfp4": 16}.get(scheme.form, scheme.group) or 1)
    return None


def _plain_list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _tail(module: str) -> str:
    return module.rpartition(".")[2]
