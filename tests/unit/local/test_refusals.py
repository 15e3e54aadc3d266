import errno
import os
from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.world import refusals


@pytest.mark.parametrize(("platform", "name"), [("darwin", "macOS"), ("win32", "Windows")])
def test_other_systems_are_refused_in_one_line(platform: str, name: str) -> None:
    with pytest.raises(MultinodeError, match=f"{name} lacks") as refused:
        refusals.require_linux(platform)
    assert refused.value.code == ExitCode.NAMESPACES
    assert "\n" not in str(refused.value)


def test_linux_is_not_refused() -> None:
    refusals.require_linux("linux")


def test_a_missing_engine_names_the_command_that_installs_it() -> None:
    with pytest.raises(MultinodeError, match=r"no_such_engine.*multinode local install") as refused:
        refusals.require_packages(("pydantic", "no_such_engine"))
    assert refused.value.code == ExitCode.ENGINE_MISSING


def test_ipv6_needs_a_kernel_that_has_it(tmp_path: Path) -> None:
    with pytest.raises(MultinodeError, match="this kernel has no IPv6") as refused:
        refusals.require_ipv6("--ip6", tmp_path)
    assert refused.value.where == "--ip6"
    (tmp_path / "net/ipv6/conf").mkdir(parents=True)
    refusals.require_ipv6("--ip6", tmp_path)


@pytest.mark.parametrize(
    ("number", "settings", "hint"),
    [
        pytest.param(
            errno.ENOSPC,
            {"user/max_user_namespaces": 0},
            "max_user_namespaces=15000",
            id="no-user-namespaces",
        ),
        pytest.param(
            errno.EPERM,
            {"user/max_user_namespaces": 9, "kernel/unprivileged_userns_clone": 0},
            "kernel.unprivileged_userns_clone=1",
            id="debian",
        ),
        pytest.param(
            errno.EACCES,
            {"kernel/apparmor_restrict_unprivileged_userns": 1},
            "kernel.apparmor_restrict_unprivileged_userns=0",
            id="ubuntu",
        ),
        pytest.param(errno.ENOSPC, {"user/max_user_namespaces": 9}, "/proc/sys/user", id="limit-reached"),
        pytest.param(errno.EPERM, {}, "seccomp=unconfined", id="container"),
        pytest.param(errno.EINVAL, {}, "CONFIG_USER_NS", id="kernel-without"),
    ],
)
def test_a_refused_namespace_says_which_setting_to_change(
    tmp_path: Path, number: int, settings: dict[str, int], hint: str
) -> None:
    for name, value in settings.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
    error = refusals.namespaces_refused(OSError(number, os.strerror(number)), tmp_path)
    assert error.code == ExitCode.NAMESPACES
    assert hint in error.hint
    assert "\n" not in str(error)
