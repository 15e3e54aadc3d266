"""Where things stand in the repository."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
MANIFESTS: Final = ROOT / "manifests"
PACKAGE: Final = ROOT / "runtime/vllm_multinode"


class AbsentError(Exception):
    """What a generator reads is not here; says what."""


Files = dict[Path, str | None]
"""Content of each file by its path; None for one that is not to be there."""
