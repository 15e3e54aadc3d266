"""vLLM's arguments in a spec: a mapping or a list, and which of them the spec says elsewhere."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from vllm_multinode.authoring.foreign import DATA_PARALLEL
from vllm_multinode.contract import ports
from vllm_multinode.launcher.arguments import MODEL, ONE_ENGINE, Fixed, options

Arguments = Mapping[str, object] | tuple[str, ...]

_ELSEWHERE: Final = {
    MODEL: "model says it",
    "--tensor-parallel-size": "parallelism.tensor says it",
    "--pipeline-parallel-size": "parallelism.pipeline says it",
    "--distributed-executor-backend": "executor says it",
    "--nnodes": "it follows from parallelism and accelerator.perNode",
    "--port": f"KServe's Service expects {ports.API}",
    "--master-addr": "the group finds the head's address",
    "--master-port": "env MULTINODE_MASTER_PORT sets it on every node",
    "--node-rank": "the head assigns ranks",
    "--headless": "the role decides",
}
_FIXED: Final[Mapping[str, Fixed]] = {name: Fixed(None, why) for name, why in _ELSEWHERE.items()} | dict(
    ONE_ENGINE
)


def as_list(arguments: Arguments) -> list[str]:
    """The arguments as vLLM's command line takes them.

    Of a mapping, true becomes `--name`, false `--no-name`, a list one option with several values, and a
    mapping one value in JSON.
    """
    if not isinstance(arguments, Mapping):
        return list(arguments)
    return [text for name, value in arguments.items() for text in _option(name, value)]


def _option(name: str, value: object) -> list[str]:
    option = f"--{_dashed(name)}"
    if isinstance(value, bool):
        return [option if value else f"--no-{option.removeprefix('--')}"]
    if isinstance(value, Mapping):
        return [f"{option}={json.dumps(value, separators=(',', ':'))}"]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [option, *(_text(one) for one in value)]
    if option == "--config":
        # vLLM passes over a --config that is written with an equals sign.
        return [option, _text(value)]
    return [f"{option}={_text(value)}"]


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, Mapping) else str(value)


def _dashed(name: str) -> str:
    """An option's name without its leading dashes; underscores before the first dot are dashes."""
    head, dot, rest = name.removeprefix("--").partition(".")
    return head.replace("_", "-") + dot + rest


def names(arguments: Arguments) -> set[str]:
    """The options that are given, without their dashes."""
    return {option.name.removeprefix("--") for option in options(_without_config(arguments), _FIXED)}


def faults(arguments: Arguments) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Options that the spec says elsewhere or that a group cannot have: where, and why not."""
    keys: Sequence[str | int]
    if isinstance(arguments, Mapping):
        keys, lists = list(arguments), [_option(name, value) for name, value in arguments.items()]
    else:
        keys, lists = [0], [list(arguments)]
    for key, each in zip(keys, lists, strict=True):
        path = ("arguments", key) if isinstance(arguments, Mapping) else ("arguments",)
        for option in options(_without_config(each), _FIXED):
            fixed = _FIXED.get(option.name)
            if fixed is None or option.nested or (fixed.value is not None and fixed.value == option.value):
                continue
            why = (
                DATA_PARALLEL
                if option.name.startswith("--data-parallel")
                else f"{fixed.source}; leave it out"
            )
            yield path, f"{option.written} is not allowed here: {why}"
        if any("{{" in text for text in each):
            yield path, "'{{' begins a template of KServe's own; put the value into a file or a ConfigMap"


def _without_config(arguments: Arguments | Sequence[str]) -> list[str]:
    """The arguments without `--config FILE`: the file is in the pod, not here."""
    kept: list[str] = []
    given = iter(as_list(arguments) if isinstance(arguments, Mapping) else arguments)
    for argument in given:
        if argument == "--config":
            next(given, None)
        elif not argument.startswith("--config="):
            kept.append(argument)
    return kept
