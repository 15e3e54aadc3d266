"""Sizes that a container's command line asks vLLM or Ray for, also inside a shell's string."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vllm_multinode.contract import env
from vllm_multinode.contract.finding import Path
from vllm_multinode.contract.numbers import is_count
from vllm_multinode.k8s.access import Body, at, listed, text

_FLAGS: Final[Mapping[str, str]] = {
    "--tensor-parallel-size": "tensor",
    "-tp": "tensor",
    "--tp-size": "tensor",
    "--tp": "tensor",
    "--pipeline-parallel-size": "pipeline",
    "-pp": "pipeline",
    "--pp-size": "pipeline",
    "--data-parallel-size": "data",
    "-dp": "data",
    "--nnodes": "nodes",
    "--num-gpus": "ray_gpus",
}
_ENGINES: Final = re.compile(r"\b(vllm|sglang)\b")
_VARIABLE: Final = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)|\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")
_LONGEST: Final = 5  # digits of a size


@dataclass(frozen=True)
class Asked:
    """One size on a command line.

    Attributes:
        flag: as it is written.
        value: what it comes to.
        path: of the text that has it, in the container.
    """

    flag: str
    value: int
    path: Path


def sizes(container: Body, group_size: int | None = None) -> dict[str, Asked]:
    """The sizes that a container's command and args ask for, the last one of each; only where all is known.

    Keys are tensor, pipeline, data, nodes and ray_gpus. A value may be a variable that the container sets.

    Args:
        container: with command, args and env.
        group_size: LWS_GROUP_SIZE, where LeaderWorkerSet sets it.
    """
    variables = _variables(container)
    if group_size is not None:
        variables.setdefault(env.LWS_GROUP_SIZE, str(group_size))
    asked: dict[str, Asked] = {}
    words = list(_words(container))
    for index, (word, path) in enumerate(words):
        flag, equals, value = word.partition("=")
        size = _FLAGS.get(flag.replace("_", "-") if flag.startswith("--") else flag)
        if size is None:
            continue
        if not equals:
            value = words[index + 1][0] if index + 1 < len(words) else ""
        resolved = _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], match[0]), value)
        if is_count(resolved) and len(resolved) <= _LONGEST:
            asked[size] = Asked(f"{flag} {value}", int(resolved), path)
        else:
            asked.pop(size, None)
    return asked


def runs_engine(container: Body) -> bool:
    """Whether a command line starts vLLM or SGLang."""
    return any(_ENGINES.search(word) for word, _ in _words(container))


def _words(container: Body) -> Iterator[tuple[str, Path]]:
    """The words of command and args; a shell's string gives those of its commands."""
    for field in ("command", "args"):
        for index, word in enumerate(listed(container, field)):
            if isinstance(word, str):
                for part in _split(word):
                    yield part, (field, index)


def _split(word: str) -> list[str]:
    if not any(character.isspace() for character in word.strip()):
        return [word]
    try:
        return shlex.split(word.replace("\\\n", " "), comments=True)
    except ValueError:
        return word.split()


def _variables(container: Body) -> dict[str, str]:
    given: dict[str, str] = {}
    for entry in listed(container, "env"):
        value: Any = at(entry, "value")
        if isinstance(value, str):
            given[text(entry, "name")] = value
    return given
