"""Which options vLLM has: vllm_options.json, as its own parser lists them (scripts/generate vllm_options)."""

import functools
import json
from pathlib import Path

from vllm_multinode.engines.vllm import removed


@functools.cache
def _known() -> tuple[str, frozenset[str]]:
    """The version of vLLM, and its options without their dashes."""
    content = json.loads(Path(__file__).with_name("vllm_options.json").read_text(encoding="utf-8"))
    return content["version"], frozenset(content["options"])


def objection(key: str) -> str:
    """Why vLLM would reject an option, and what to do instead; empty where it takes it.

    Args:
        key: the option without its dashes, such as max-num-seqs.
    """
    version, options = _known()
    advice = removed(f"--{key}", version)
    if advice is not None:
        return f"vLLM {version} no longer has it. {advice}"
    return "" if key in options else f"vLLM {version} has no option --{key}."
