"""The control plane's programs, built from their Go modules and kept for the next run."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

MODULES: Final = Path(__file__).parents[1] / "modules"
KUBERNETES_VERSION: Final = "v1.34.4"
DEFAULT_KSERVE: Final = "v0.19.0"
OLDEST_KSERVE: Final = "v0.15.2"
"""Beside the default in an ordinary run, for the tests that are marked so."""

_LEAST_GO: Final = (1, 25, 8)
"""What the newest of the modules asks for."""
_BUILD_TIMEOUT: Final = 1800.0
_SAID_LINES: Final = 15
_VERSION_PACKAGE: Final = "k8s.io/component-base/version"


class CannotBuildError(Exception):
    """A program cannot be had here; its text is one line that says why."""


class GoMissingError(CannotBuildError):
    """Go is not installed, or too old."""


@dataclass(frozen=True)
class Tool:
    """A Go module of this folder and the programs in it.

    Args:
        module: the folder below `modules/`.
        packages: import paths of the main packages, by the name that their program gets.
        source: the Go module whose files the tests read, such as its CRDs; empty where they read none.
        linker: more linker flags.
    """

    module: str
    packages: tuple[tuple[str, str], ...]
    source: str = ""
    linker: str = ""


ETCD: Final = Tool("etcd", (("etcd", "go.etcd.io/etcd/server/v3"),))
KUBERNETES: Final = Tool(
    "kubernetes",
    tuple((name, f"k8s.io/kubernetes/cmd/{name}") for name in ("kube-apiserver", "kube-controller-manager")),
    # Without these, clients see a server of version v0.0.0.
    linker=" ".join(
        f"-X {_VERSION_PACKAGE}.{name}={value}"
        for name, value in (("gitVersion", KUBERNETES_VERSION), ("gitMajor", "1"), ("gitMinor", "34"))
    ),
)
LWS: Final = Tool("lws", (("lws", "sigs.k8s.io/lws/cmd"),), source="sigs.k8s.io/lws")

STREAMING: Final = Tool("streaming", (("streaming", "."),))
"""Our own program over Kubernetes' library for kubelets: port-forwards."""


def kserve_tool(version: str) -> Tool:
    """KServe's manager.

    Args:
        version: one of `kserve_versions()`.
    """
    source = "github.com/kserve/kserve"
    return Tool(f"kserve-{version}", (("manager", f"{source}/cmd/manager"),), source=source)


def kserve_versions() -> tuple[str, ...]:
    """Those that have a module here, oldest first."""
    found = (folder.name.removeprefix("kserve-") for folder in MODULES.glob("kserve-v*"))
    return tuple(sorted(found, key=lambda version: [int(part) for part in version[1:].split(".")]))


@cache
def go_version() -> str:
    """The version of the Go that is on PATH, such as `go1.26.1`.

    Raises:
        GoMissingError: there is none, or it is too old.
    """
    least = ".".join(map(str, _LEAST_GO))
    hint = f"Install Go {least} or newer (https://go.dev/dl)."
    if shutil.which("go") is None:
        raise GoMissingError(f"The control plane is built with Go, and no 'go' is on PATH. {hint}")
    asked = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=False)
    version = asked.stdout.strip()
    numbers = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", version)
    if numbers is None or tuple(int(part or 0) for part in numbers.groups()) < _LEAST_GO:
        raise GoMissingError(
            f"The control plane is built with Go, and '{version}' on PATH is too old. {hint}"
        )
    return version


def build(tool: Tool) -> Path:
    """The folder that holds the tool's programs; builds them where that was not done before.

    The folder's name holds a checksum of all that decides what the programs are, so that another Go or
    another version of a dependency gets another folder.

    Raises:
        CannotBuildError: Go is missing, or a module cannot be had or built.
    """
    version = go_version()
    folder = _cache() / f"{tool.module}-{_checksum(tool, version)}"
    if folder.is_dir():
        return folder
    with _alone(folder):
        # Another run may have built it meanwhile.
        if not folder.is_dir():
            _build(tool, folder)
    return folder


def source(tool: Tool) -> Path:
    """Where the files of the tool's own Go module are.

    Raises:
        CannotBuildError: the module cannot be had.
    """
    found = _go(tool, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", tool.source).strip()
    if not found:
        _go(tool, "mod", "download", tool.source)
        found = _go(tool, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", tool.source).strip()
    return Path(found)


def _build(tool: Tool, folder: Path) -> None:
    sys.stderr.write(f"Building {tool.module} (minutes, once).\n")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for name, package in tool.packages:
            flags = ["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {tool.linker}"]
            _go(tool, "build", *flags, "-o", str(unfinished / name), package)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _go(tool: Tool, *arguments: str) -> str:
    # The user's own flags could contradict ours; and no other toolchain is to be downloaded silently.
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run(
            ["go", *arguments],
            cwd=MODULES / tool.module,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_BUILD_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotBuildError(f"{tool.module}: go {arguments[0]} took over {_BUILD_TIMEOUT:g} s.") from error
    if done.returncode:
        raise CannotBuildError(f"{tool.module}: go {arguments[0]} failed: {_last_lines(done.stderr)}")
    return done.stdout


def _last_lines(text: str) -> str:
    lines: Sequence[str] = [line for line in text.splitlines() if not line.startswith("go: downloading")]
    return "\n".join(lines[-_SAID_LINES:])


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vllm-multinode" / "controlplane"


def _checksum(tool: Tool, go: str) -> str:
    folder = MODULES / tool.module
    files = [folder / "go.mod", folder / "go.sum", *sorted(folder.glob("*.go"))]
    parts = [file.read_text() for file in files]
    return hashlib.sha256("\0".join([*parts, repr(tool), go]).encode()).hexdigest()[:12]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock on building one folder; the kernel frees it when its holder dies."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
