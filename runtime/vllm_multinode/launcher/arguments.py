"""vLLM's own arguments: passed through untouched, and rejected where they contradict the contract.

The names are read as vLLM's parser reads them: `--tensor_parallel_size`, `--tensor-parallel-size=4`, `-tp 4`,
`-tp=4`, any unambiguous beginning (`--tensor-par 4`), the last of several, and behind all of them the keys of
`--config FILE`.
"""

import os.path
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.config_file import config_arguments, refused
from vllm_multinode.launcher.masking import masked
from vllm_multinode.launcher.spelling import check_spelling

__all__ = [
    "MODEL",
    "ONE_ENGINE",
    "Fixed",
    "Option",
    "check_arguments",
    "given",
    "last_value",
    "masked",
    "options",
    "read_options",
    "without_model",
]

MODEL = "--model"
"""The option that the positional model counts as."""

_SHORT = {
    "-asc": "--api-server-count",
    "-dp": "--data-parallel-size",
    "-dpe": "--data-parallel-external-lb",
    "-dph": "--data-parallel-hybrid-lb",
    "-dpl": "--data-parallel-size-local",
    "-dpm": "--data-parallel-multi-port-external-lb",
    "-dpn": "--data-parallel-rank",
    "-dpr": "--data-parallel-start-rank",
    "-n": "--nnodes",
    "-pcp": "--prefill-context-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-r": "--node-rank",
    "-tp": "--tensor-parallel-size",
}
_FLAGS = frozenset(
    {
        "--data-parallel-external-lb",
        "--data-parallel-hybrid-lb",
        "--data-parallel-multi-port-external-lb",
        "--disable-log-stats",
        "--grpc",
        "--headless",
    }
)
# Options of vLLM that are the beginning of another one and yet mean themselves.
_COMPLETE = frozenset(
    {
        "--chat-template",
        "--config",
        "--data-parallel-size",
        "--grpc",
        "--kv-cache-dtype",
        "--kv-cache-metrics",
        "--long-prefill-token-threshold",
        "--model",
        "--numa-bind",
        "--quantization",
        "--reasoning-parser",
        "--tokenizer",
        "--watermark",
    }
)
_NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")
_ATTACHED = re.compile(r"(-[nr])([^=].*)")


@dataclass(frozen=True, slots=True)
class Fixed:
    """What the contract says of one option.

    Attributes:
        value: the only value that is accepted; "" for a flag that may be given, None where the option may not
            be given at all.
        source: what says so: a variable with its value, or a few words.
    """

    value: str | None
    source: str


ONE_ENGINE: Mapping[str, Fixed] = {
    "--data-parallel-external-lb": Fixed(None, "a group is one engine"),
    "--data-parallel-hybrid-lb": Fixed(None, "a group is one engine"),
    "--data-parallel-multi-port-external-lb": Fixed(None, "a group is one engine"),
    "--data-parallel-rank": Fixed(None, "a group is one engine"),
    "--data-parallel-size": Fixed("1", "a group is one engine"),
    "--data-parallel-size-local": Fixed("1", "a group is one engine"),
    "--data-parallel-start-rank": Fixed(None, "a group is one engine"),
    "--disable-log-stats": Fixed(None, "the watchdog tells busy from hung by vLLM's statistics"),
    "--grpc": Fixed(None, "health and clients speak HTTP"),
    "--prefill-context-parallel-size": Fixed(
        "1", "KServe counts GPUs as tensor parallel x pipeline parallel"
    ),
    "--uds": Fixed(None, "the Service needs a TCP port"),
}
"""What holds for every group, whatever its settings."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option as it was given.

    Attributes:
        name: canonical where this module knows it, else with dashes for underscores; without `.key`.
        values: what follows, up to the next option.
        written: as the user wrote it, value included.
        origin: the --config file that it came from, or "".
        nested: written as `--name.key value`.
        items: the arguments that it consists of.
    """

    name: str
    values: tuple[str, ...]
    written: str
    origin: str = ""
    nested: bool = False
    items: tuple[str, ...] = ()

    @property
    def value(self) -> str:
        """The first value; "" where there is none."""
        return self.values[0] if self.values else ""


def check_arguments(arguments: Sequence[str], contract: Mapping[str, Fixed]) -> None:
    """Refuse arguments that contradict the contract. What vLLM would take in the end is what counts.

    Args:
        arguments: everything after the role.
        contract: by vLLM's long option name; `ONE_ENGINE` is added to it.

    Raises:
        MultinodeError: ARGUMENTS, with the argument as written and what it contradicts, or because of a
            --config file that cannot be read.
    """
    check_spelling(arguments)
    fixed_options = {**ONE_ENGINE, **contract}
    effective = {option.name: option for option in options(arguments, fixed_options) if not option.nested}
    for name, option in effective.items():
        fixed = fixed_options.get(name)
        if fixed is None or (fixed.value is not None and _agrees(name, option.value, fixed.value)):
            continue
        what = f"{option.written} contradicts the contract: {fixed.source}."
        hint = "Leave it out; the launcher gives vLLM what it needs."
        where = option.origin or "arguments"
        raise MultinodeError(ExitCode.ARGUMENTS, what, where=where, hint=hint)


def given(arguments: Sequence[str], name: str) -> bool:
    """Tell whether an option is among the arguments, in any of the forms that vLLM takes.

    Raises:
        MultinodeError: ARGUMENTS, because of a --config file that cannot be read.
    """
    return any(option.name == name for option in options(arguments, {name: Fixed(None, "")}))


def last_value(arguments: Sequence[str], name: str) -> str | None:
    """Return the value that vLLM would take for an option: "" for a flag, None where it is not given.

    Raises:
        MultinodeError: ARGUMENTS, because of a --config file that cannot be read.
    """
    values = [option.value for option in options(arguments, {name: Fixed(None, "")}) if option.name == name]
    return values[-1] if values else None


def without_model(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without the model, which the launcher puts first: vLLM takes it only there.

    Args:
        arguments: which `check_arguments` has accepted, so that a model among them is the right one.
    """
    left: list[str] = []
    for option in read_options(arguments, {MODEL: Fixed(None, "")}):
        repeated = option.name == MODEL and not option.nested
        # What follows its value is not the model's: `--model m x` leaves x for vLLM to reject.
        left += option.values[1:] if repeated else option.items
    return left


def options(arguments: Sequence[str], known: Mapping[str, Fixed]) -> list[Option]:
    """Read the arguments as vLLM would, those of a --config file first, so that the last of a name counts.

    Args:
        arguments: everything after the role.
        known: long names to which an unambiguous beginning is completed.

    Raises:
        MultinodeError: ARGUMENTS, because of a --config file that cannot be read.
    """
    own = list(read_options(arguments, known))
    files = [option for option in own if option.name == "--config" and not option.nested]
    if not files:
        return own
    if len(files) > 1:
        raise refused(files[1].written, "there is more than one --config, and vLLM takes one.", "Merge them.")
    if "=" in files[0].written:
        what = "vLLM passes over a --config that is written with an equals sign."
        raise refused(files[0].written, what, "Write --config and the file as two arguments.")
    path = files[0].value
    return [*read_options(config_arguments(path), known, origin=path), *own]


def read_options(arguments: Sequence[str], known: Mapping[str, Fixed], origin: str = "") -> Iterator[Option]:
    """Group arguments into options, without those of a file; a model that stands alone becomes `--model`."""
    position = 0
    only_positional = False
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        if argument == "--" and not only_positional:
            only_positional = True
            continue
        if only_positional or not _is_option(argument):
            yield Option(MODEL, (argument,), argument, origin, items=(argument,))
            continue
        name, attached = _split(argument)
        long_name, dot, _ = name.partition(".")
        end = position
        if attached is None:
            if dot:
                # vLLM takes whatever follows a nested name as its value.
                end = min(position + 1, len(arguments))
            while end < len(arguments) and not dot and not _is_option(arguments[end]):
                end += 1
        values = (attached,) if attached is not None else tuple(arguments[position:end])
        written = " ".join([argument, *arguments[position:end][:1]])
        items = (argument, *arguments[position:end])
        yield Option(_canonical(long_name, known), values, written, origin, nested=bool(dot), items=items)
        position = end


def _is_option(argument: str) -> bool:
    """Tell an option from a value as argparse does."""
    if len(argument) < 2 or not argument.startswith("-"):
        return False
    return not (_NEGATIVE_NUMBER.fullmatch(argument) or " " in argument.partition("=")[0])


def _split(argument: str) -> tuple[str, str | None]:
    """Return an option's name, with dashes for underscores up to the first dot, and an attached value."""
    if attached := _ATTACHED.fullmatch(argument):
        return attached[1], attached[2]
    name, equals, value = argument.partition("=")
    if name.startswith("--"):
        head, dot, rest = name.partition(".")
        name = head.replace("_", "-") + dot + rest
    return name, value if equals else None


def _canonical(name: str, known: Mapping[str, Fixed]) -> str:
    """Resolve short names, and the beginning of a known name as argparse completes it.

    A beginning that fits several options is completed to one of them: vLLM would reject it anyhow.
    """
    if name in _SHORT:
        return _SHORT[name]
    if name in known or name in _COMPLETE or name == "--":
        return name
    for candidate in (*known, *_SHORT):
        if candidate.startswith(name):
            return _SHORT.get(candidate, candidate)
    return name


def _agrees(name: str, value: str, expected: str) -> bool:
    if name in _FLAGS:
        return True
    try:
        # As vLLM reads it, which takes +4 too.
        return int(value) == int(expected)
    except ValueError:
        pass
    if name == MODEL:
        return os.path.normpath(value) == os.path.normpath(expected)
    return value == expected
