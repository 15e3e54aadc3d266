"""Why this machine allows no namespaces, in one line, and what to do about it."""

import errno
import importlib.util
import os
import sys
from pathlib import Path

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode


def require_linux(platform: str = sys.platform) -> None:
    """Refuse every other system by name."""
    if platform == "linux":
        return
    names = {"darwin": "macOS", "win32": "Windows", "cygwin": "Windows"}
    raise MultinodeError(
        ExitCode.NAMESPACES,
        f"multinode local builds nodes from Linux namespaces, which {names.get(platform, platform)} lacks.",
        hint="Run it on Linux, or in a Linux virtual machine (WSL 2, Lima, Colima).",
    )


def require_packages(names: tuple[str, ...]) -> None:
    """Refuse when a package that the nodes need is not installed; imports none of them."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise MultinodeError(
            ExitCode.ENGINE_MISSING,
            f"{', '.join(missing)} cannot be imported in {sys.executable}.",
            hint="Run 'multinode local install': it installs the engine and its dependencies.",
        )


def require_ipv6(option: str = "--ip6", sysctls: Path = Path("/proc/sys")) -> None:
    """Refuse `--ip6` and `--dual-stack` on a kernel without IPv6.

    Args:
        option: that was given.
        sysctls: the directory that holds the kernel's settings.

    Raises:
        MultinodeError: it has none.
    """
    if not (sysctls / "net/ipv6/conf").is_dir():
        raise MultinodeError(
            ExitCode.LOCAL_RUN,
            "this kernel has no IPv6.",
            where=option,
            hint="Load the module ipv6, or boot without ipv6.disable=1.",
        )


def namespaces_refused(error: OSError, sysctls: Path = Path("/proc/sys")) -> MultinodeError:
    """What a refused unshare(2) or uid_map means here.

    Args:
        error: the refusal.
        sysctls: the directory that holds the kernel's settings.
    """
    asked = "" if os.geteuid() == 0 else " for an ordinary user"
    what = f"this machine does not allow new namespaces{asked} ({error.strerror})."
    return MultinodeError(ExitCode.NAMESPACES, what, hint=_hint(error, sysctls))


def _hint(error: OSError, sysctls: Path) -> str:
    if _setting(sysctls / "user/max_user_namespaces") == 0:
        return "Set 'sysctl -w user.max_user_namespaces=15000', or run as root."
    if _setting(sysctls / "kernel/unprivileged_userns_clone") == 0:
        return "Set 'sysctl -w kernel.unprivileged_userns_clone=1', or run as root."
    if _setting(sysctls / "kernel/apparmor_restrict_unprivileged_userns") == 1:
        return "Set 'sysctl -w kernel.apparmor_restrict_unprivileged_userns=0', or run as root."
    if error.errno == errno.ENOSPC:
        return "A limit under /proc/sys/user is reached; raise user.max_*_namespaces, or stop other runs."
    if error.errno in (errno.EPERM, errno.EACCES):
        return (
            "If this is a container, start it with --privileged or --security-opt seccomp=unconfined; "
            "otherwise run as root."
        )
    return "The kernel must have CONFIG_USER_NS, CONFIG_NET_NS, CONFIG_PID_NS, CONFIG_VETH and CONFIG_BRIDGE."


def proc_refused(error: OSError) -> MultinodeError:
    """What it means that a new process namespace gets no /proc of its own."""
    return MultinodeError(
        ExitCode.NAMESPACES,
        f"a new process namespace cannot mount its own /proc here ({error.strerror}): "
        "this container masks parts of /proc.",
        hint="Start the container with --security-opt systempaths=unconfined (Podman: --security-opt "
        "unmask=ALL), or with --privileged.",
    )


def network_refused(error: Exception) -> MultinodeError:
    """What it means that no bridge or no veth pair can be made."""
    return MultinodeError(
        ExitCode.NAMESPACES,
        f"the nodes' network cannot be created ({' '.join(str(error).split())}).",
        hint="The kernel needs the modules bridge and veth: 'modprobe -a bridge veth' as root.",
    )


def _setting(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
