"""Takes secrets out of what is shown to others, of logs above all. Pure."""

import re
from typing import Final

from vllm_multinode.launcher.masking import MASK, is_secret_option

_TOKENS: Final = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}\b"
    r"|\bsk-[A-Za-z0-9_-]{16,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bsha256~[\w-]{20,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|(?<=://)[^/@\s]+(?=@)"
)
"""Of the Hugging Face Hub, OpenAI's kind, AWS, OpenShift, JSON web tokens, and the user of a URL."""
_BEARER: Final = re.compile(r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_NAMED: Final = re.compile(
    r"""(?P<name>[A-Za-z][\w.-]*)(?P<between>["']?\s*[=:]\s*["']?)(?P<value>[^\s"',;})\]]+)"""
)
_OPTION: Final = re.compile(
    r"(?P<name>--[A-Za-z][\w.-]*)(?P<between>['\"]?,?\s+['\"]?)(?P<value>[^\s\"',)\]]+)"
)
_KEY_BLOCK: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_NO_SECRETS: Final = frozenset({"none", "null", "true", "false", "***"})


def without_secrets(text: str) -> str:
    """The text with every token, key and password hidden, by its shape or by the name before it."""
    text = _KEY_BLOCK.sub(MASK, text)
    text = _TOKENS.sub(MASK, text)
    text = _BEARER.sub(rf"\1{MASK}", text)
    return _OPTION.sub(_hidden, _NAMED.sub(_hidden, text))


def _hidden(found: re.Match[str]) -> str:
    name, value = found["name"], found["value"]
    if value.startswith("--") or value.lower() in _NO_SECRETS or not is_secret_option(name):
        return found[0]
    return f"{name}{found['between']}{MASK}"
