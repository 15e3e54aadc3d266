"""Which modules a quantisation's names and patterns mean, though checkpoints spell modules differently."""

import fnmatch
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass


def matches(patterns: tuple[str, ...], module: str) -> bool:
    """Whether a name, a part of the path, a regular expression ("re:") or a wildcard names the module."""
    if not patterns:
        return False
    found = _compiled(patterns)
    for name in found.spellings(module):
        if found.expression is not None and found.expression.search(name):
            return True
        parts = name.split(".")
        # A skipped name may be the module, what holds it, a part of it, or start a level further in or out.
        if any(
            ".".join(parts[start:end]) in found.names
            for start in range(len(parts))
            for end in range(start + 1, len(parts) + 1)
        ):
            return True
    return False


# What checkpoints call the parts of a layer whose names here are the common ones.
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "mlp": ("block_sparse_moe", "mixer", "ffn", "feed_forward", "moe"),
    "self_attn": ("mixer", "attn", "attention"),
    "mamba": ("mixer",),
    "gate_proj": ("w1",),
    "down_proj": ("w2",),
    "up_proj": ("w3",),
}
_HOLDERS = ("model.language_model.", "language_model.model.", "backbone.", "language_model.")
_HELD = re.compile(r"^(?:(?:model|language_model|backbone)\.)+")


@dataclass(frozen=True)
class _Patterns:
    """Patterns of modules, ready to be compared.

    Attributes:
        names: plain ones, without what holds the language model.
        expression: all others in one; None without any.
        holders: of the language model, that the others name.
        words: spellings of a layer's parts that any of them uses.
    """

    names: frozenset[str]
    expression: re.Pattern[str] | None
    holders: tuple[str, ...]
    words: frozenset[str]

    def spellings(self, module: str) -> list[str]:
        """The module's name, and as these patterns may write it."""
        found = [module]
        parts = module.split(".")
        for part, others in _SPELLINGS.items():
            used = self.words.intersection(others) if part in parts else ()
            found += [name.replace(f".{part}", f".{word}", 1) for name in found for word in used]
        bare = [_HELD.sub("", name) for name in found] if self.holders else []
        return found + [holder + name for holder in self.holders for name in bare]


@functools.lru_cache(maxsize=64)
def _compiled(patterns: tuple[str, ...]) -> _Patterns:
    """Plain names apart from one expression for all others; one that does not compile matches nothing."""
    names: set[str] = set()
    expressions = []
    for pattern in patterns:
        if pattern.startswith("re:"):
            expressions.append(pattern[3:])
        elif "*" in pattern or "?" in pattern:
            # The module itself, or what holds it: mlp.gate is not mlp.gate_proj.
            whole = fnmatch.translate(pattern).replace(r"\Z", "").replace(r"\z", "")
            expressions.append(whole + r"(?:\.|$)")
        else:
            names |= {pattern, _HELD.sub("", pattern)}
    usable = []
    for expression in expressions:
        try:
            re.compile(expression)
        except re.error:
            continue
        usable.append(f"(?:{expression})")
    written = "\n".join(patterns)
    plain = "\n".join(usable).replace("\\", "")
    words = {word for others in _SPELLINGS.values() for word in others if re.search(rf"\b{word}\b", written)}
    return _Patterns(
        frozenset(names),
        re.compile("|".join(usable)) if usable else None,
        tuple(holder for holder in _HOLDERS if holder in plain),
        frozenset(words),
    )
