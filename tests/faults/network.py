"""Faults of a node's network link."""

import subprocess
from functools import partial
from typing import Final

from engine.services import LocalGroup
from faults.acts import Act, Unavailable, Undo
from vllm_multinode.contract import ports

_BANDS: Final = ("2", "priomap", *("1",) * 16)


def cut(node: str) -> Act:
    """Its network link is down."""

    def act(group: LocalGroup) -> Undo:
        group.act("cut", node)
        return partial(group.act, "join", node)

    return act


def disturbed(node: str, *netem: str) -> Act:
    """Its network link loses or delays packets, as tc's netem says."""

    def act(group: LocalGroup) -> Undo:
        tc = _tc(group, node)
        tc("qdisc", "add", "dev", "eth0", "root", "netem", *netem)
        return partial(tc, "qdisc", "del", "dev", "eth0", "root")

    return act


def only_supervisors_talk(node: str) -> Act:
    """What the node's engine sends is lost; its supervisor's messages go through. Nothing dies or stops."""

    def act(group: LocalGroup) -> Undo:
        tc = _tc(group, node)
        tc("qdisc", "add", "dev", "eth0", "root", "handle", "1:", "prio", "bands", *_BANDS)
        tc("qdisc", "add", "dev", "eth0", "parent", "1:2", "handle", "2:", "netem", "loss", "100%")
        to_first = ("flowid", "1:1")
        for end in ("sport", "dport"):
            port = ("match", "ip", end, str(ports.SUPERVISOR), "0xffff")
            tc("filter", "add", "dev", "eth0", "parent", "1:", "protocol", "ip", "u32", *port, *to_first)
        tc("filter", "add", "dev", "eth0", "parent", "1:", "protocol", "arp", "matchall", *to_first)
        return partial(tc, "qdisc", "del", "dev", "eth0", "root")

    return act


def _tc(group: LocalGroup, node: str) -> "partial[subprocess.CompletedProcess[bytes]]":
    inside = ("nsenter", "-n", "-t", str(group.processes(node, "multinode")[0]), "tc")

    def run(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
        done = subprocess.run([*inside, *arguments], check=False, capture_output=True)
        if b"qdisc kind is unknown" in done.stderr:
            raise Unavailable("this kernel has no queue that loses or delays packets (netem, prio)")
        done.check_returncode()
        return done

    return partial(run)
