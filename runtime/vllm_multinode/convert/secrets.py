"""Values that must not reach an output, a report or a log."""

import re
from typing import Final

from vllm_multinode.launcher.masking import is_secret_option

_VALUE: Final = re.compile(
    r"\bhf_[A-Za-z0-9]{8,}|\bsk-[A-Za-z0-9_-]{8,}|\bAKIA[0-9A-Z]{12,}|\bgh[pousr]_[A-Za-z0-9]{16,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}|\bglpat-[A-Za-z0-9_-]{8,}|-----BEGIN [A-Z ]*PRIVATE KEY"
)
_USER_INFO: Final = re.compile(r"://[^/@\s]+@")
_PAR: Final = re.compile(r"/p/[A-Za-z0-9_-]{20,}/")
_SIGNED: Final = re.compile(
    r"[?&](sig|signature|x-amz-signature|x-amz-security-token|x-goog-signature|token|access_token|api_key)=",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Whether a variable's, option's or field's name speaks of a secret."""
    return is_secret_option(f"--{name.lstrip('-').lower().replace('_', '-')}")


def is_secret(value: object) -> bool:
    """Whether a value is one by its form: a token, a signed address, a user with a password."""
    text = str(value)
    return any(pattern.search(text) for pattern in (_VALUE, _USER_INFO, _PAR, _SIGNED))
