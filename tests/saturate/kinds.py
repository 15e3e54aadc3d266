"""What is saturated: how the engine is started, and what is asked of it."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

MODEL: Final = "llm"
_WORDS: Final = [
    "one",
    "two",
    "three",
    "market",
    "stone",
    "river",
    "narrow",
    "castle",
    "mirror",
    "north",
    "thunder",
    "apple",
    "dark",
    "south",
]
_SCHEMA: Final = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "count": {"type": "integer"}},
    "required": ["name", "count"],
}

Body = dict[str, Any]
Ask = Callable[[random.Random], tuple[str, Body]]
"""Path and body of a request."""


def prompt(chance: random.Random, words: int) -> str:
    """Words of the tiny model's."""
    return " ".join(chance.choices(_WORDS, k=words))


def short(chance: random.Random) -> tuple[str, Body]:
    """A completion of some tokens, streamed."""
    tokens = chance.randrange(4, 64)
    return "/v1/completions", _completion(prompt(chance, 8), tokens) | {"stream": True}


def long_prefill(chance: random.Random) -> tuple[str, Body]:
    """Thousands of tokens, and one of an answer."""
    return "/v1/completions", _completion(prompt(chance, 2500), 1)


def very_long_prefill(chance: random.Random) -> tuple[str, Body]:
    """Thousands of tokens of which no two prompts share a block, in many chunks."""
    tokens = [chance.randrange(5, 800) for _ in range(chance.randrange(8_000, 24_000))]
    return "/v1/completions", _completion(tokens, 1)


def structured(chance: random.Random) -> tuple[str, Body]:
    """JSON of a schema; each has names of its own, so that its grammar is compiled."""
    schema = _SCHEMA | {"title": prompt(chance, 3)}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return "/v1/completions", _completion(prompt(chance, 8), 48) | {"response_format": wanted}


def logprobs(chance: random.Random) -> tuple[str, Body]:
    """With the likeliest tokens; the first one compiles a kernel, some 13 s without a step."""
    return "/v1/completions", _completion(prompt(chance, 8), 8) | {"logprobs": 3}


def pooling(chance: random.Random) -> tuple[str, Body]:
    """A vector of a few hundred tokens."""
    return "/v1/embeddings", {"model": MODEL, "input": prompt(chance, chance.randrange(10, 300))}


def _completion(text: str | list[int], tokens: int) -> Body:
    return {"model": MODEL, "prompt": text, "max_tokens": tokens, "temperature": 1, "ignore_eos": True}


@dataclass(frozen=True)
class Kind:
    """One way to use an engine.

    Attributes:
        what: in words.
        arguments: of vLLM.
        asks: what clients ask for, each name with how many of a hundred.
        streams: whether answers come in pieces, which clients may leave unread or unfinished.
        tensor_parallel: over the two nodes, instead of a pipeline stage on each.
    """

    what: str
    arguments: tuple[str, ...]
    asks: dict[str, tuple[int, Ask]]
    streams: bool = True
    tensor_parallel: bool = False


_LONG: Final = ("--max-model-len", "4096", "--num-gpu-blocks-override", "400")
KINDS: Final = {
    "generate": Kind(
        "completions, long prefills, structured output, logprobs",
        _LONG,
        {
            "short": (84, short),
            "long prefill": (2, long_prefill),
            "structured": (10, structured),
            "logprobs": (4, logprobs),
        },
    ),
    "speculate": Kind(
        "completions with n-gram speculation",
        (
            *_LONG,
            "--speculative-config",
            '{"method":"ngram","num_speculative_tokens":3,"prompt_lookup_max":4}',
        ),
        {"short": (95, short), "structured": (5, structured)},
        # vLLM 0.32 on CPU looks for the drafter on every stage, and only the last one has it.
        tensor_parallel=True,
    ),
    "prefill": Kind(
        "prompts of up to 24,000 tokens, and nothing else",
        ("--max-model-len", "32000", "--num-gpu-blocks-override", "400"),
        {"very long prefill": (100, very_long_prefill)},
        streams=False,
    ),
    "pool": Kind(
        "embeddings",
        ("--runner", "pooling", "--convert", "embed"),
        {"pooling": (100, pooling)},
        streams=False,
    ),
}
