"""Where a directory is mounted from: the nearest that a pod knows to the claim and the path in it."""

import re
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")
# The kernel writes blanks and backslashes as octal numbers.
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def mounted_from(directory: Path, mounts: Path = _MOUNTS) -> str:
    """One sentence on what is mounted at a directory, or that nothing is.

    A pod is not told the name of its claim. What it sees is the filesystem and the folder in it: of a claim
    on NFS the server, the export and the subPath, of others the volume and the subPath.

    Args:
        directory: the mount point.
        mounts: in the format of proc_pid_mountinfo(5).
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found = ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, filesystem = before.split(), after.split()
        # A later mount at the same place hides an earlier one.
        if len(fields) > 4 and len(filesystem) > 1 and _plain(fields[4]) == str(directory):
            folder = "" if fields[3] == "/" else f", folder {_plain(fields[3])}"
            found = f"{_plain(filesystem[1])} ({filesystem[0]}{folder}) is mounted there."
    return found or "Nothing is mounted there."


def _plain(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)
