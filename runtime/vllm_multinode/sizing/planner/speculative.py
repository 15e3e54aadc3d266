"""Speculative decoding as the engine is told of it: what it loads and caches besides."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.model.architecture import Architecture
from vllm_multinode.sizing.model.sources import Source

_OPTION = "--speculative-config"
# Methods that guess from the text alone.
_WITHOUT_WEIGHTS = frozenset({"ngram", "ngram_gpu", "suffix"})
_EXAMPLE = """Use the engine's value, such as '{"method": "mtp", "num_speculative_tokens": 1}'."""


@dataclass(frozen=True, slots=True)
class Speculation:
    """How tokens are guessed ahead.

    Attributes:
        method: as the engine names it; empty without.
        layers: of the model's own multi-token prediction that are loaded.
        draft: a model that guesses; None without one.
    """

    method: str = ""
    layers: int = 0
    draft: Source | None = None


def read_speculation(text: str, model: Architecture, find: Callable[[str], Source]) -> Speculation:
    """Read the engine's --speculative-config.

    Args:
        text: JSON.
        model: that is served.
        find: finds the draft model by its name.

    Raises:
        MultinodeError: USAGE, for what is no such configuration; as `find`.
    """
    given = _parsed(text)
    name, method = given.get("model"), given.get("method")
    tokens = given.get("num_speculative_tokens", 1)
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise _bad(f"num_speculative_tokens is {tokens!r}, which is not a whole number above 0.")
    for field, value in (("model", name), ("method", method)):
        if value is not None and not isinstance(value, str):
            raise _bad(f"{field} is {value!r}, which is not a name.")
    if not method and not name:
        raise _bad("it sets neither method nor model.")
    if method and "mtp" in method:
        if not model.drafts:
            raise _bad(f"{model.name or 'the model'} has no multi-token prediction layers.")
        return Speculation(method, len(model.drafts))
    if method in _WITHOUT_WEIGHTS:
        return Speculation(method)
    if not name:
        raise _bad(f"method {method!r} needs a model.")
    return Speculation(method or "draft_model", draft=find(name))


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad("it is not JSON.") from error
    if not isinstance(found, dict):
        raise _bad("it is not a JSON object.")
    return found


def _bad(what: str) -> MultinodeError:
    return MultinodeError(ExitCode.USAGE, what, where=_OPTION, hint=_EXAMPLE)
