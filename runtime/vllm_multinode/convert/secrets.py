"""Values that must not reach an output, a report or a log."""

from typing import Final

from vllm_multinode.launcher.masking import is_secret_option
from vllm_multinode.terminal.secret_shapes import KEY_BLOCK, PRE_AUTHENTICATED, SIGNED, TOKEN, USER_INFO

_SHAPES: Final = (TOKEN, USER_INFO, KEY_BLOCK, SIGNED, PRE_AUTHENTICATED)


def is_secret_name(name: str) -> bool:
    """Whether a variable's, option's or field's name speaks of a secret."""
    return is_secret_option(f"--{name.lstrip('-').lower().replace('_', '-')}")


def is_secret(value: object) -> bool:
    """Whether a value is one by its form: a token, a signed address, a user with a password."""
    text = str(value)
    return any(shape.search(text) for shape in _SHAPES)
