"""The control plane by hand: `scripts/controlplane up|down|env`."""

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Final

from pydantic import BaseModel

from controlplane.plane import builds
from controlplane.plane.builds import CannotBuildError
from controlplane.plane.kubectl import KubectlError
from controlplane.plane.processes import StartFailedError
from controlplane.plane.running import Plane, running
from vllm_multinode.local import locks

_FOLDER: Final = Path(__file__).parents[2] / ".controlplane"
_END_TIMEOUT: Final = 60.0


class _Up(BaseModel):
    """What is said about the control plane that runs."""

    keeper: int
    """The process that keeps it going; SIGTERM ends it."""
    kserve: str
    kubeconfig: Path
    folder: Path


def main() -> int:
    """The exit code: 0 done, 1 not."""
    parser = argparse.ArgumentParser(prog="scripts/controlplane", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "env"))
    parser.add_argument(
        "--kserve", default=builds.DEFAULT_KSERVE, metavar="V", help=", ".join(builds.kserve_versions())
    )
    asked = parser.parse_args()
    version = f"v{asked.kserve.removeprefix('v')}"
    if version not in builds.kserve_versions():
        parser.error(f"--kserve: there are {', '.join(builds.kserve_versions())}, not {version}")
    if asked.command == "up":
        return _up(version)
    return _down() if asked.command == "down" else _env()


def _up(version: str) -> int:
    _FOLDER.mkdir(exist_ok=True)
    lock = locks.take(_FOLDER)
    if lock is None:
        found = _living()
        sys.stderr.write(f"A control plane with KServe {found.kserve if found else '?'} is up already.\n")
        if found is not None:
            _print_usage(found)
        return 0 if found is not None and found.kserve == version else 1
    reading, writing = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(reading)
        os._exit(_keep(version, writing))
    os.close(writing)
    os.close(lock)
    try:
        with os.fdopen(reading) as pipe:
            said = pipe.read()
    except KeyboardInterrupt:
        os.kill(keeper, signal.SIGTERM)
        os.waitpid(keeper, 0)
        return 1
    if not said:
        return os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1])
    found = _Up.model_validate_json(said)
    sys.stderr.write(f"Up, with KServe {version}. Its logs are in {found.folder}.\n")
    _print_usage(found)
    return 0


def _keep(version: str, parent: int) -> int:
    """Hold the control plane until SIGTERM; this process holds the lock, and its programs end with it."""
    os.setsid()
    signal.signal(signal.SIGTERM, _end)
    try:
        with running(version) as plane:
            _settle(plane, parent)
            while True:
                signal.pause()
    except (CannotBuildError, StartFailedError, KubectlError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except SystemExit:
        return 0
    finally:
        (_FOLDER / "up.json").unlink(missing_ok=True)


def _end(_number: int, _frame: FrameType | None) -> None:
    # Once: what ends the programs is not to be interrupted.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def _settle(plane: Plane, parent: int) -> None:
    """Tell the parent, and let go of the terminal."""
    up = _Up(keeper=os.getpid(), kserve=plane.kserve, kubeconfig=plane.kubeconfig, folder=plane.folder)
    (_FOLDER / "up.json").write_text(up.model_dump_json())
    with Path(os.devnull).open("r+b") as nothing:
        for standard in range(3):
            os.dup2(nothing.fileno(), standard)
    os.write(parent, up.model_dump_json().encode())
    os.close(parent)


def _down() -> int:
    found = _living()
    if found is None:
        sys.stderr.write("No control plane is up.\n")
        return 0
    os.kill(found.keeper, signal.SIGTERM)
    try:
        lock = locks.wait_for(_FOLDER, _END_TIMEOUT)
    except TimeoutError:
        sys.stderr.write(f"Process {found.keeper} has not ended within {_END_TIMEOUT:g} s; kill it.\n")
        return 1
    if lock is not None:
        os.close(lock)
    sys.stderr.write("Down.\n")
    return 0


def _env() -> int:
    found = _living()
    if found is None:
        sys.stderr.write("No control plane is up; start one with 'scripts/controlplane up'.\n")
        return 1
    sys.stdout.write(f"{_export(found)}\n")
    return 0


def _living() -> _Up | None:
    """What is up; what a killed keeper left does not count, for nobody holds its lock any more."""
    lock = locks.take(_FOLDER)
    if lock is not None:
        os.close(lock)
        return None
    try:
        return _Up.model_validate_json((_FOLDER / "up.json").read_text())
    except (OSError, ValueError):
        return None


def _export(found: _Up) -> str:
    return f"export KUBECONFIG={shlex.quote(str(found.kubeconfig))}"


def _print_usage(found: _Up) -> None:
    kubectl = Path(sys.executable).parent / "kubectl"
    sys.stdout.write(
        f'{_export(found)}    # or: eval "$(scripts/controlplane env)"\n'
        f"{kubectl} get pods --all-namespaces\n"
        "scripts/controlplane down\n"
    )


if __name__ == "__main__":
    sys.exit(main())
