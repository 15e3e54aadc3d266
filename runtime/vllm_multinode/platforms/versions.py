"""Which KServe is meant: unlike the launcher, a preview also knows those that drop workerSpec."""

from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

Version = tuple[int, int, int]

VERSIONS: Final = ("0.15.0", "0.15.1", "0.15.2", "0.16.0", "0.17.1", "0.18.1", "0.19.0", "0.20.0")
DEFAULT_VERSION: Final = "0.18.1"
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
                hint=f"Known: 0.14.1, {', '.join(VERSIONS)}.",
            )
    return parse_version(text)


def text(version: Version) -> str:
    """`0.18.1`."""
    return ".".join(str(part) for part in version)


def parse_version(text: str) -> Version:
    """`0.18.1` or `v0.18.1` as three numbers.

    Raises:
        MultinodeError: not a version, or one without multi-node support.
    """
    parts = text.removeprefix("v").split(".")
    if len(parts) not in (2, 3) or not all(part.isdecimal() for part in parts):
        raise MultinodeError(
            ExitCode.USAGE, f"'{text}' is not a KServe version.", hint=f"Known: {', '.join(VERSIONS)}."
        )
    numbers = [int(part) for part in parts] + [0]
    version = (numbers[0], numbers[1], numbers[2])
    if version < (0, 15, 0):
        raise MultinodeError(
            ExitCode.USAGE,
            f"KServe {text} drops workerSpec in silence, so nothing is multi-node there.",
            hint="Use v0.15.0 or newer.",
        )
    return version


def knative_modes(version: Version) -> tuple[str, ...]:
    """Values of the deployment mode's annotation that mean Knative; before v0.16 the old name alone."""
    return ("Serverless", "Knative") if version >= (0, 16, 0) else ("Serverless",)
