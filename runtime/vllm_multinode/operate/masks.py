"""Takes secrets out of what is shown to others, of logs above all. Pure."""

import re
from typing import Final

from vllm_multinode.launcher.masking import MASK, is_secret_option
from vllm_multinode.terminal.secret_shapes import KEY_BLOCK, PRE_AUTHENTICATED, SIGNED, TOKEN, USER_INFO

_BEARER: Final = re.compile(r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_NAMED: Final = re.compile(
    r"""(?P<name>[A-Za-z][\w.-]*)(?P<between>["']?\s*[=:]\s*["']?)(?P<value>[^\s"',;})\]]+)"""
)
_OPTION: Final = re.compile(
    r"(?P<name>--[A-Za-z][\w.-]*)(?P<between>['\"]?,?\s+['\"]?)(?P<value>[^\s\"',)\]]+)"
)
_NO_SECRETS: Final = frozenset({"none", "null", "true", "false", "***"})


def without_secrets(text: str) -> str:
    """The text with every token, key and password hidden, by its shape or by the name before it."""
    for shape in (KEY_BLOCK, TOKEN, USER_INFO, PRE_AUTHENTICATED):
        text = shape.sub(MASK, text)
    text = SIGNED.sub(rf"\g<name>{MASK}", text)
    text = _BEARER.sub(rf"\1{MASK}", text)
    return _OPTION.sub(_hidden, _NAMED.sub(_hidden, text))


def _hidden(found: re.Match[str]) -> str:
    name, value = found["name"], found["value"]
    if value.startswith("--") or value.lower() in _NO_SECRETS or not is_secret_option(name):
        return found[0]
    return f"{name}{found['between']}{MASK}"
