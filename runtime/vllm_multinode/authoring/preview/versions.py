"""Which KServe is meant: unlike the launcher, a preview also knows those that drop workerSpec."""

from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.kserve import VERSIONS, Version, parse_version

MULTI_NODE: Final = (0, 15, 0)
OLDEST: Final = (0, 14, 0)


def parse(text: str) -> Version:
    """`0.18.1` or `v0.18.1` as three numbers; from v0.14 on, whose schema has no workerSpec.

    Raises:
        MultinodeError: not a version, or one older than v0.14.
    """
    parts = text.removeprefix("v").split(".")
    if len(parts) in (2, 3) and parts[0] == "0" and all(part.isdecimal() and len(part) < 6 for part in parts):
        version = (0, int(parts[1]), int(parts[2]) if len(parts) == 3 else 0)
        if OLDEST <= version < MULTI_NODE:
            return version
        if version < OLDEST:
            raise MultinodeError(
                ExitCode.USAGE,
                f"KServe {text} is older than any that is known here.",
                mend=f"Known: 0.14.1, {', '.join(VERSIONS)}.",
            )
    return parse_version(text)


def text(version: Version) -> str:
    """`0.18.1`."""
    return ".".join(str(part) for part in version)
