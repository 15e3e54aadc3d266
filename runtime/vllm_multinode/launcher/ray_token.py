"""Ray's own token, derived from the group's: whoever reads it can speak to Ray and not join the group."""

import os
from pathlib import Path

from vllm_multinode.launcher.proof import derive

_NAME = "multinode-ray-token"


def write_ray_token(token: str | None, folder: Path) -> Path | None:
    """Write it where only this user can read it.

    Args:
        token: of the group, or None.
        folder: of this pod, writable.

    Returns:
        The file, or None where there is no token.
    """
    if token is None:
        return None
    file = folder / _NAME
    file.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(file, flags, 0o600), "w") as written:
        written.write(derive(token, "Ray").hex())
    return file
