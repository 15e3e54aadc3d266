"""Run directories: what a run leaves in the file system while it lives, and who may remove it.

The lock is flock(2) on the directory itself. The runner and the world's processes hold it together, so it is
free when, and only when, the last of them is gone.
"""

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.local import locks

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_SOCKET_PATH_LIMIT: Final = 107
_DIRECTORY_MODE: Final = 0o700
_POLL: Final = 0.05
_LOCK_TIMEOUT: Final = 5.0


class RunInfo(Frozen):
    """What a run says about itself in run.json."""

    run: str
    service: str
    runner: int
    url: str
    supervisor_url: str
    logs: str
    started: float
    model: str = ""
    """Its directory on this machine."""
    asks_for_key: bool = False
    """Whether its API does. The key itself stands in no file."""

    @property
    def request(self) -> str:
        """A command that asks it for a completion."""
        unknown = " -k" if self.url.startswith("https:") else ""
        key = f' -H "Authorization: Bearer ${env.API_KEY}"' if self.asks_for_key else ""
        body = f'{{"model": "{self.service}", "prompt": "One two three", "max_tokens": 16, "temperature": 0}}'
        return f"curl{unknown} {self.url}/v1/completions -H 'Content-Type: application/json'{key} -d '{body}'"


@dataclass(frozen=True)
class RunDirectory:
    """Where the files of one run are."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def control(self) -> Path:
        """The control socket."""
        return self.path / "control.sock"

    @property
    def logs(self) -> Path:
        """One log a pod, NAME.log, and its termination log, NAME.termination."""
        return self.path / "nodes"

    @property
    def world_log(self) -> Path:
        """What the world's own process says."""
        return self.path / "world.log"

    @property
    def mounts(self) -> Path:
        """Empty here; a tmpfs with the pods' volumes in the world's mount namespace."""
        return self.path / "pods"

    @property
    def info(self) -> RunInfo | None:
        """run.json, where the run came far enough to write it."""
        try:
            return RunInfo.model_validate_json((self.path / "run.json").read_text())
        except (OSError, ValueError):
            return None

    def write_info(self, info: RunInfo) -> None:
        """Write run.json."""
        (self.path / "run.json").write_text(info.model_dump_json(indent=2) + "\n")


class HeldRun:
    """A run directory, and the lock on it."""

    def __init__(self, directory: RunDirectory, lock: int) -> None:
        self.directory = directory
        self.lock = lock

    def remove(self) -> None:
        """Remove the directory, and the one around it where it is empty then; give up the lock."""
        shutil.rmtree(self.directory.path, ignore_errors=True)
        os.close(self.lock)
        with suppress(OSError):
            self.directory.path.parent.rmdir()


class Runs:
    """The runs of one user on this machine."""

    def __init__(self, base: Path) -> None:
        self.base = base

    @classmethod
    def of_this_user(cls) -> "Runs":
        """Below XDG_RUNTIME_DIR where that is set and there, else below /tmp."""
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        parent = Path(runtime) if runtime and os.access(runtime, os.W_OK | os.X_OK) else Path("/tmp")  # noqa: S108
        return cls(parent / f"vllm-multinode-{os.geteuid()}")

    def create(self, name: str | None, default: str) -> HeldRun:
        """A new run directory, locked.

        Args:
            name: what the user calls it; refused where a living run has that name.
            default: taken where there is no name, with a number after it where it is taken.

        Raises:
            MultinodeError: a bad or taken name, or a base directory that is not ours alone.
        """
        with self._alone(create=True):
            for wanted in [name] if name else _numbered(default):
                _check_name(wanted)
                held = self._take(wanted)
                if held is not None:
                    return held
        raise MultinodeError(
            ExitCode.LOCAL_RUN,
            f"a run named '{name or default}' already exists.",
            where=str(self.base),
            hint="Choose another --run, or end that one with 'multinode local stop'.",
        )

    def _take(self, name: str) -> HeldRun | None:
        path = self.base / name
        stale = locks.take(path) if path.exists() else None
        if path.exists() and stale is None:
            return None
        if stale is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(stale)
        directory = RunDirectory(path)
        _check_socket(directory.control)
        path.mkdir(mode=_DIRECTORY_MODE)
        directory.logs.mkdir()
        directory.mounts.mkdir()
        lock = locks.take(path)
        return None if lock is None else HeldRun(directory, lock)

    def living(self) -> list[RunDirectory]:
        """The runs whose lock is held, by name."""
        found = []
        with self._alone(create=False):
            for directory in self._all():
                lock = locks.take(directory.path)
                if lock is None:
                    found.append(directory)
                else:
                    os.close(lock)
        return found

    def find(self, name: str | None) -> RunDirectory:
        """The living run of that name, or the only one there is.

        Raises:
            MultinodeError: none, or several and no name.
        """
        living = self.living()
        if name is not None:
            living = [directory for directory in living if directory.name == name]
        if len(living) == 1:
            return living[0]
        names = ", ".join(directory.name for directory in living)
        if names:
            raise MultinodeError(
                ExitCode.LOCAL_RUN, f"there are several runs: {names}.", hint="Say --run NAME."
            )
        what = f"there is no run named '{name}'." if name else "there is no run."
        raise MultinodeError(ExitCode.LOCAL_RUN, what, hint="Start one with 'multinode local run'.")

    def clean(self) -> list[str]:
        """Remove what dead runs left, and the base directory where it is empty then.

        Returns:
            The names of what was removed.
        """
        removed = []
        with self._alone(create=False):
            for directory in self._all():
                lock = locks.take(directory.path)
                if lock is not None:
                    HeldRun(directory, lock).remove()
                    removed.append(directory.name)
        return removed

    def wait_until_gone(self, directory: RunDirectory, timeout: float) -> bool:
        """Whether a living run ends, its directory with it, within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while directory.path.exists():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL)
        return True

    def _all(self) -> list[RunDirectory]:
        try:
            return sorted((RunDirectory(path) for path in self.base.iterdir()), key=lambda found: found.name)
        except (FileNotFoundError, NotADirectoryError):
            return []

    @contextmanager
    def _alone(self, *, create: bool) -> Iterator[None]:
        """Hold the base directory's lock, so that nobody cleans or asks about what somebody just makes."""
        descriptor = None
        while descriptor is None:
            if create:
                self.base.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
            elif not self.base.exists():
                break
            _check_owner(self.base)
            descriptor = _wait_for(self.base)
        try:
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _numbered(default: str) -> Iterator[str]:
    yield default
    for number in range(2, 100):
        yield f"{default}-{number}"


def _wait_for(base: Path) -> int | None:
    try:
        # Others hold it for milliseconds, and the kernel takes it from them when they die.
        return locks.wait_for(base, _LOCK_TIMEOUT)
    except TimeoutError as error:
        raise MultinodeError(
            ExitCode.LOCAL_RUN,
            f"another process has held it for more than {_LOCK_TIMEOUT:g} s.",
            where=str(base),
            hint=f"'fuser {base}' shows which; stop it.",
        ) from error


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise MultinodeError(
            ExitCode.USAGE,
            f"'{name}' is not a valid name of a run.",
            where="--run",
            hint="Use up to 40 lower-case letters, digits and dashes.",
        )


def _check_socket(path: Path) -> None:
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
        raise MultinodeError(
            ExitCode.LOCAL_RUN,
            f"{path} is too long for a socket ({_SOCKET_PATH_LIMIT} bytes).",
            where="XDG_RUNTIME_DIR",
            hint="Unset it, or choose a shorter --run.",
        )


def _check_owner(base: Path) -> None:
    """Anybody may make a directory below /tmp: use it only when it is ours and nobody else can look in."""
    try:
        found = base.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return
    raise MultinodeError(
        ExitCode.LOCAL_RUN,
        "is not a directory that belongs to you and that only you can enter.",
        where=str(base),
        hint="Remove it, or set XDG_RUNTIME_DIR.",
    )
