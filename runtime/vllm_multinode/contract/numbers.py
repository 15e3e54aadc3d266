"""Numbers as people write them in options, variables and headers: ASCII digits and nothing else.

`int` and `float` also take `1_0`, a leading `+`, spaces, the digits of every script, `nan` and `inf`.
"""

import re
from typing import Final

_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
_DECIMAL: Final = re.compile(r"-?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})([eE][+-]?[0-9]{1,2})?")


def whole(text: str) -> int:
    """A whole number of up to 18 digits.

    Raises:
        ValueError: something else is written there.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"'{text[:40]}' is not a whole number")
    return int(text)


def decimal(text: str) -> float:
    """A finite number, such as 8, 0.5 or 1e3.

    Raises:
        ValueError: something else is written there.
    """
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"'{text[:40]}' is not a number")
    return float(text)


def is_count(text: str) -> bool:
    """Tell whether a text is a whole number that is not negative."""
    return not text.startswith("-") and _WHOLE.fullmatch(text) is not None
