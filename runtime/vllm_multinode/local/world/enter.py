"""The process that the runner starts: it leaves the machine's namespaces and forks the world.

The runner, this process and the world's first process form a chain: when one dies, the kernel kills the
next, and with the first process of a PID namespace everything in it. So nothing of a run can outlive the
runner, however it ends.
"""

import asyncio
import errno
import logging
import os
import select
import socket
import sys
from pathlib import Path
from typing import Final

from pyroute2.netlink.exceptions import NetlinkError

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.local.world import refusals, syscalls
from vllm_multinode.local.world.control import Control
from vllm_multinode.local.world.protocol import Refusal, Reply, WorldConfig
from vllm_multinode.local.world.syscalls import Mount, Namespace
from vllm_multinode.local.world.world import World

_WORLD: Final = Namespace.MOUNT | Namespace.NET | Namespace.PID | Namespace.IPC | Namespace.UTS


def main() -> int:
    """Read the configuration from standard input and stay until the world has ended.

    Returns:
        The exit status of the world's first process.
    """
    config = WorldConfig.model_validate_json(sys.stdin.buffer.read())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if os.getppid() != config.runner:
        return ExitCode.LOCAL_RUN
    runner = os.pidfd_open(config.runner)
    try:
        _leave_the_machine()
        _tie(parent=runner)
        self_ = os.pidfd_open(os.getpid())
        world = os.fork()
        if world == 0:
            os._exit(_first_process(config, self_))
    except MultinodeError as error:
        _report(config.report, Reply(refusal=Refusal.of(error)))
        return error.code
    os.close(config.report)
    _, status = os.waitpid(world, 0)
    return os.waitstatus_to_exitcode(status)


def _leave_the_machine() -> None:
    user, group = os.geteuid(), os.getegid()
    try:
        if user == 0:
            try:
                syscalls.unshare(_WORLD)
            except PermissionError:
                # Root without CAP_SYS_ADMIN, as in a container: an ordinary user in this respect.
                pass
            else:
                return
        syscalls.unshare(_WORLD | Namespace.USER)
        Path("/proc/self/setgroups").write_text("deny")
        # The same user inside as outside: files are ours, and what is executed has no capabilities.
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    except OSError as error:
        raise refusals.namespaces_refused(error) from error


def _tie(parent: int) -> None:
    """Die with the process that the pidfd is of, even where it died before this call."""
    syscalls.die_with_parent()
    ended, _, _ = select.select([parent], [], [], 0)
    if ended:
        os._exit(1)


def _first_process(config: WorldConfig, parent: int) -> int:
    """What process 1 of the world does."""
    try:
        _tie(parent)
        _own_mounts()
        socket.sethostname(config.run)
        asyncio.run(_live(config, parent))
    except MultinodeError as error:
        _report(config.report, Reply(refusal=Refusal.of(error)))
        return error.code
    except NetlinkError as error:
        _report(config.report, Reply(refusal=Refusal.of(refusals.network_refused(error))))
        return ExitCode.NAMESPACES
    return ExitCode.OK


def _own_mounts() -> None:
    try:
        syscalls.mount("", "/", flags=Mount.PRIVATE | Mount.RECURSIVE)
    except OSError as error:
        raise refusals.namespaces_refused(error) from error
    try:
        syscalls.mount("proc", "/proc", "proc", Mount.NO_SUID | Mount.NO_DEV | Mount.NO_EXEC)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES):
            raise
        raise refusals.proc_refused(error) from error


async def _live(config: WorldConfig, parent: int) -> None:
    # The kernel's signal should have come first; a second rope costs nothing.
    asyncio.get_running_loop().add_reader(parent, os._exit, 1)
    world = World(config)
    await world.open()
    await Control(world, config.control).start()
    _report(config.report, Reply(done="up"))
    await world.ending.wait()
    await world.close()


def _report(descriptor: int, reply: Reply) -> None:
    """One line; the descriptor stays open, for its end tells the runner that the world is gone."""
    os.write(descriptor, reply.model_dump_json().encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
