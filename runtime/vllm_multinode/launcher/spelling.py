"""Arguments that a word processor or a YAML list has changed, so that vLLM does not see the option."""

import json
import re
from collections.abc import Sequence
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.masking import masked

_DASHES: Final = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_QUOTES: Final = "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2032\u2033"
_INVISIBLE: Final = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
_STRAIGHT: Final = {ord(sign): '"' for sign in "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033"} | {
    ord(sign): "'" for sign in "\u2018\u2019\u201a\u201b\u2032"
}
_HYPHENS: Final = {ord(dash): "-" for dash in _DASHES} | {ord(sign): None for sign in _INVISIBLE}
_OPTION: Final = re.compile(r"-{1,2}[A-Za-z][\w.-]*")
_WITH_VALUE: Final = re.compile(r"(-{1,2}[A-Za-z][\w.-]*)\s+(\S.*)", re.DOTALL)


def check_spelling(arguments: Sequence[str]) -> None:
    """Refuse what looks like an option to a person but not to vLLM.

    Args:
        arguments: everything after the role.

    Raises:
        MultinodeError: ARGUMENTS, with the argument and how to write it.
    """
    for argument in arguments:
        if fault := _fault(argument):
            what, right = fault
            pair = _WITH_VALUE.fullmatch(right)
            shown = masked(pair.groups() if pair else [argument])
            hint = f"Write two arguments: {shown}." if pair else f"Write {masked([right])}."
            raise MultinodeError(ExitCode.ARGUMENTS, f"{shown}: {what}.", where="arguments", hint=hint)


def _fault(argument: str) -> tuple[str, str] | None:
    """What is wrong with an argument, and how it is right."""
    name = argument.partition("=")[0]
    right = _straightened(argument)
    if argument.startswith(tuple(_DASHES)):
        return "it begins with a dash that is not a hyphen", right
    if argument.startswith(tuple(_INVISIBLE)) or (
        argument.startswith("-") and any(sign in name.split()[0] for sign in _DASHES + _INVISIBLE)
    ):
        return "its name holds a character that looks like a hyphen or like nothing", right
    if argument[:1] in ("'", '"', *_QUOTES) and _OPTION.match(right):
        return "the quotes are part of the argument", right
    if argument != argument.strip() and _OPTION.match(argument.strip()):
        return "the space around it is part of the argument", argument.strip()
    if _WITH_VALUE.fullmatch(argument):
        return "an option and its value stand in one argument", argument
    value = argument.partition("=")[2] if argument.startswith("-") else argument
    straight = value.translate(_STRAIGHT)
    if value[:1] in tuple(_QUOTES) and value[-1:] in tuple(_QUOTES):
        return "it stands in typographic quotes", argument.replace(value, straight[1:-1])
    if _is_json(straight) and not _is_json(value):
        return "it holds typographic quotes", argument.replace(value, straight)
    return None


def _is_json(value: str) -> bool:
    if not value.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


def _straightened(argument: str) -> str:
    """With hyphens for dashes, two of them before a long name, and without quotes around it."""
    text = argument.translate(_STRAIGHT).strip("\"'").strip()
    name, equals, value = text.partition("=")
    name, space, rest = name.partition(" ")
    name = re.sub(r"^-([A-Za-z][\w-]{3,})$", r"--\1", name.translate(_HYPHENS))
    return name + space + rest + equals + value
