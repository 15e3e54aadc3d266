"""Kubernetes quantities: what `2`, `500m`, `16Gi` and `1e3` mean, and how the API server writes them back.

Source: k8s.io/apimachinery/pkg/api/resource, "Quantity is a fixed-point representation of a number".
"""

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Final

_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BY_EXPONENT: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_FORM: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i)|([numkMGTPE]?)|([eE][+-]?\d{1,2}))")
_EXACT: Final = Context(prec=1200)  # of the longest text with the largest exponent
_MOST_WRITTEN: Final = 64  # characters of a quantity that is written back
# Its digits, shifted by the largest exponent: what has been written back is a quantity too.
_MOST_CHARACTERS: Final = _MOST_WRITTEN + 99
_LARGEST: Final = 18
_INT64_DIGITS: Final = 18
_MOST: Final = Decimal(2**63 - 1)  # Kubernetes caps binary quantities there


def parse(value: object) -> Decimal:
    """The number that a quantity stands for, exactly.

    Raises:
        ValueError: not a quantity.
    """
    return _parts(value)[0]


def canonical(value: object, places: int = 3) -> str:
    """A quantity as the API server writes it: `1000m` is `1`, `1024Mi` is `1Gi`, `0.5` is `500m`.

    Args:
        value: as written.
        places: decimals that stay, rounded up: 3 for limits and requests, 9 for any other quantity.

    Raises:
        ValueError: not a quantity, or one of more than 64 characters.
    """
    if len(str(value)) > _MOST_WRITTEN:
        raise ValueError("A quantity has at most 64 characters.")
    number, form = _parts(value)
    if _is_kept(str(value), places):
        return str(value)
    rounding = ROUND_CEILING if number > 0 else ROUND_FLOOR
    whole = int(number.scaleb(places, _EXACT).to_integral_value(rounding))
    if whole == 0:
        return "0"
    one = 10**places
    if form == "binary" and abs(whole) >= 1024 * one and whole % one == 0:
        return _binary(whole // one)
    exponent = -places
    while whole % 1000 == 0 and exponent < _LARGEST:
        whole //= 1000
        exponent += 3
    if form == "exponent":
        return f"{whole}e{exponent}" if exponent else str(whole)
    return f"{whole}{_BY_EXPONENT[exponent]}"


def _is_kept(text: str, places: int) -> bool:
    """Whether Kubernetes takes the text for canonical and keeps it, as it does with `1.500` and `+2`."""
    match = _FORM.fullmatch(text)
    if match is None:
        return False
    digits, binary, decimal, exponent = match.groups()
    whole, _, rest = digits.lstrip("+-").partition(".")
    whole = whole.lstrip("0") or "0"
    if binary:
        small = len(whole) + int(_BINARY[binary] * 3) + 1 <= _INT64_DIGITS - 3
        return small and "." not in digits and int(whole) % 8 != 0
    scale = (int(exponent[1:]) if exponent else _DECIMAL[decimal or ""]) - len(rest)
    shifted = whole + rest
    fits = scale >= -places and len(shifted) <= _INT64_DIGITS
    return fits and scale % 3 == 0 and not shifted.endswith("000") and shifted[0] != "0"


def _parts(value: object) -> tuple[Decimal, str]:
    is_text = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    text = str(value)[: _MOST_CHARACTERS + 1] if is_text else ""
    match = _FORM.fullmatch(text) if len(text) <= _MOST_CHARACTERS else None
    if match is None:
        raise ValueError(f"{value!r} is not a quantity.")
    digits, binary, decimal, exponent = match.groups()
    if binary:
        number = _EXACT.multiply(Decimal(digits), Decimal(1024 ** _BINARY[binary]))
        return max(min(number, _MOST), -_MOST), "binary"
    if exponent:
        return Decimal(digits).scaleb(int(exponent[1:]), _EXACT), "exponent"
    return Decimal(digits).scaleb(_DECIMAL[decimal or ""], _EXACT), "decimal"


def _binary(whole: int) -> str:
    power = 0
    while whole % 1024 == 0 and power < len(_BINARY):
        whole //= 1024
        power += 1
    return f"{whole}{['', *_BINARY][power]}"
