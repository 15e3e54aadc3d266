"""Version numbers of engines, as their distributions, images and logs write them."""

import re
from typing import Final

Version = tuple[int, ...]

IMAGE: Final = "0.32.0"
"""The version of vLLM that the image carries."""
LAST_WITH_RAY: Final = "0.17.1"
"""The last version whose released image for CUDA has Ray; the distribution requires it until then."""

_NUMBER: Final = re.compile(r"v?(\d{1,9}(?:\.\d{1,9})+)(?!\d)")


def parse(version: str) -> Version | None:
    """Return the numbers of a version such as 0.10.1.1+rhai3; None where it has none or is of no release."""
    match = _NUMBER.match(version)
    if match is None:
        return None
    numbers = tuple(map(int, match[1].split(".")))
    # What setuptools-scm calls a build of a checkout without tags.
    return None if numbers[:2] == (0, 1) else numbers


def dotted(version: Version) -> str:
    """Write a version as its project does."""
    return ".".join(map(str, version))
