"""Small files that a pod's supervisors leave for their successors, on a volume that outlives containers."""

import json
import logging
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vllm_multinode.contract import env

log = logging.getLogger(__name__)

_LARGEST: Final = 1 << 20
"""Bytes of a file that is read: more than any of ours ever takes."""


def kept_file(environment: Mapping[str, str], subject: str) -> Path:
    """Where a pod keeps it: in the scratch folder, or where temporary files go."""
    folder = environment.get(env.SCRATCH) or environment.get("TMPDIR") or tempfile.gettempdir()
    return Path(folder) / f"vllm-multinode-{subject}-{os.geteuid()}.json"


def read_kept(file: Path) -> Any:
    """What it holds; None where there is none, or where it is not a file of this user's."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as opened:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                return None
            text = opened.read(_LARGEST + 1)
        return json.loads(text) if len(text) <= _LARGEST else None
    except (OSError, ValueError, RecursionError):
        return None


def write_kept(file: Path, body: Mapping[str, Any]) -> None:
    """Write it whole or not at all; a volume that is full loses the file, not the supervisor."""
    part = file.with_suffix(".part")
    try:
        part.write_text(json.dumps(body), encoding="utf-8")
        part.replace(file)
    except OSError as error:
        log.warning("%s cannot be written: %s", file, error.strerror)
