"""Which /dev/shm a process sees."""

import socket
from pathlib import Path


def shared_memory_identity() -> tuple[str, int, int]:
    """Tell which /dev/shm this process sees: hostname, device and inode of the mount."""
    mount = Path("/dev/shm").stat()  # noqa: S108 - the mount itself; nothing is written
    return socket.gethostname(), mount.st_dev, mount.st_ino
