"""What a node sees of the file system: this machine's, with its own /proc, /dev, /tmp and files in /etc.

Everything here runs in the node's first process, in a mount namespace of its own, before it becomes the
container. A new root is built on a tmpfs and the old one's directories are bound into it, so that mount
points can be made anywhere and nothing is written to the machine's file system.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vllm_multinode.local.world import syscalls
from vllm_multinode.local.world.syscalls import Mount

_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS: Final = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_OWN: Final = ("proc", "dev", "tmp")
_PRIVATE: Final = Mount.NO_SUID | Mount.NO_DEV
_KEPT_FLAGS: Final = {
    os.ST_NOSUID: Mount.NO_SUID,
    os.ST_NODEV: Mount.NO_DEV,
    os.ST_NOEXEC: Mount.NO_EXEC,
    os.ST_NOATIME: Mount.NO_ATIME,
    os.ST_NODIRATIME: Mount.NO_DIR_ATIME,
    os.ST_RELATIME: Mount.RELATIVE_ATIME,
}


@dataclass(frozen=True)
class Volume:
    """`source` of this machine, seen at `target`."""

    source: Path
    target: Path
    read_only: bool = False


@dataclass(frozen=True)
class View:
    """One node's file system.

    `root` is an empty directory to build on; `temporary` and `shared_memory` are directories that become
    /tmp and /dev/shm; `keep` are paths that stay visible below a directory that the node has of its own.
    """

    root: Path
    temporary: Path
    shared_memory: Path
    volumes: tuple[Volume, ...] = ()
    keep: tuple[Path, ...] = ()


class _Builder:
    """Binds into a root that has tmpfs mounts of this node's own, where mount points may be made."""

    def __init__(self, own: tuple[Path, ...]) -> None:
        self._own = {path.stat().st_dev for path in own}

    def own(self, path: Path) -> None:
        """Mount points may be made below a directory that is this node's."""
        self._own.add(path.stat().st_dev)

    def bind(self, source: int, target: Path, *, read_only: bool = False) -> None:
        """Bind what the descriptor is open on to `target`, which is made where it is absent."""
        # A link as target, such as /etc/resolv.conf often is, is followed as a reader would.
        place = Path(os.path.realpath(target))
        self.make(place, directory=stat.S_ISDIR(os.fstat(source).st_mode))
        syscalls.mount(f"/proc/self/fd/{source}", place, flags=Mount.BIND | Mount.RECURSIVE)
        if read_only:
            # A user namespace may not take these flags away from a mount that it was given.
            given = os.statvfs(place).f_flag
            kept = sum((ours for theirs, ours in _KEPT_FLAGS.items() if given & theirs), Mount.NONE)
            syscalls.mount("", place, flags=Mount.BIND | Mount.REMOUNT | Mount.READ_ONLY | kept)

    def make(self, path: Path, *, directory: bool) -> None:
        """Make a mount point; where that would write to the machine's file system, cover it first."""
        if path.exists():
            return
        parent = next(above for above in path.parents if above.exists())
        if parent.stat().st_dev not in self._own:
            self.cover(parent)
        if directory:
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def cover(self, path: Path) -> None:
        """Put a tmpfs with the same entries over a directory."""
        entries = [(entry.name, _open(entry, follow=False)) for entry in path.iterdir()]
        mode = stat.S_IMODE(path.stat().st_mode)
        syscalls.mount("tmpfs", path, "tmpfs", _PRIVATE, f"mode={mode:o}")
        for name, entry in entries:
            _repeat(entry, path / name)
            os.close(entry)
        self._own.add(path.stat().st_dev)


def build(view: View) -> None:
    """Make this process's root what `view` says.

    Raises:
        OSError: a mount was rejected.
    """
    sources = [(_open(volume.source), volume) for volume in view.volumes]
    kept = [(_open(path), path) for path in outermost(view.keep, Path("/tmp"))]  # noqa: S108
    temporary, shared_memory = _open(view.temporary), _open(view.shared_memory)
    devices = {name: _open(Path("/dev") / name) for name in _DEVICES if Path("/dev", name).exists()}

    _new_root(view.root)
    old_root = syscalls.pivot_root(view.root)
    builder = _Builder(own=(Path("/"), Path("/dev")))
    builder.bind(temporary, Path("/tmp"))  # noqa: S108
    # On a tmpfs of this run already. A second one over it would not outlive the container.
    builder.own(Path("/tmp"))  # noqa: S108
    for source, path in kept:
        builder.bind(source, path)
    for name, source in devices.items():
        builder.bind(source, Path("/dev") / name)
    for name, target in _DEVICE_LINKS.items():
        Path("/dev", name).symlink_to(target)
    builder.bind(shared_memory, Path("/dev/shm"))  # noqa: S108
    for source, volume in sources:
        builder.bind(source, volume.target, read_only=volume.read_only)
    for descriptor in (
        temporary,
        shared_memory,
        *devices.values(),
        *(source for source, _ in sources + kept),
    ):
        os.close(descriptor)
    syscalls.leave(old_root)


def outermost(paths: tuple[Path, ...], below: Path) -> list[Path]:
    """The given paths below a directory, without those that another of them contains, by name."""
    found: list[Path] = []
    for path in sorted({*paths, *(Path(os.path.realpath(given)) for given in paths)}):
        if below in path.parents and path.exists() and not any(kept in path.parents for kept in found):
            found.append(path)
    return found


def _new_root(root: Path) -> None:
    """Mount a tmpfs on `root` with this machine's top directories bound in, and a new /proc."""
    entries = [(top.name, _open(top, follow=False)) for top in Path("/").iterdir() if top.name not in _OWN]
    syscalls.mount("tmpfs", root, "tmpfs", _PRIVATE, "mode=755")
    for name, entry in entries:
        _repeat(entry, root / name)
        os.close(entry)
    for name in _OWN:
        (root / name).mkdir()
    syscalls.mount("proc", root / "proc", "proc", _PRIVATE | Mount.NO_EXEC)
    syscalls.mount("tmpfs", root / "dev", "tmpfs", Mount.NO_SUID | Mount.NO_EXEC, "mode=755")


def _repeat(entry: int, place: Path) -> None:
    """Make at `place` what the descriptor is open on: the same link, or a bind of the directory or file."""
    mode = os.fstat(entry).st_mode
    if stat.S_ISLNK(mode):
        place.symlink_to(os.readlink("", dir_fd=entry))
        return
    if stat.S_ISDIR(mode):
        place.mkdir()
    else:
        place.touch()
    syscalls.mount(f"/proc/self/fd/{entry}", place, flags=Mount.BIND | Mount.RECURSIVE)


def _open(path: Path, *, follow: bool = True) -> int:
    return os.open(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
