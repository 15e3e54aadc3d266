"""Faults of a node's network link."""

import shutil
import subprocess
from collections.abc import Sequence
from functools import partial

from engine.services import LocalGroup
from faults.acts import Act, Unavailable, Undo
from vllm_multinode.contract import ports


def cut(node: str) -> Act:
    """Its network link is down."""

    def act(group: LocalGroup) -> Undo:
        group.act("cut", node)
        return partial(group.act, "join", node)

    return act


def lossy(node: str, percent: int) -> Act:
    """Its network link loses packets in both directions, each with that probability."""

    def act(group: LocalGroup) -> Undo:
        chance = ("-m", "statistic", "--mode", "random", "--probability", f"{percent / 100:g}")
        return _filtered(group, node, [(*chance, "-j", "DROP")])

    return act


def late(node: str, milliseconds: int) -> Act:
    """What it sends is late."""

    def act(group: LocalGroup) -> Undo:
        tc = (*_inside(group, node), "tc", "qdisc")
        place = ("dev", "eth0", "root")
        done = subprocess.run(
            [*tc, "add", *place, "netem", "delay", f"{milliseconds}ms"], check=False, capture_output=True
        )
        if done.returncode:
            raise Unavailable("this kernel has no queue that delays packets (netem)")
        return partial(subprocess.run, [*tc, "del", *place], check=True)

    return act


def only_supervisors_talk(node: str) -> Act:
    """What the node's engine sends or should get is lost; its supervisor's messages go through.

    Nothing dies or stops.
    """

    def act(group: LocalGroup) -> Undo:
        ports_of = (("-p", "tcp", end, str(ports.SUPERVISOR)) for end in ("--sport", "--dport"))
        return _filtered(group, node, [*((*port, "-j", "ACCEPT") for port in ports_of), ("-j", "DROP")])

    return act


def _filtered(group: LocalGroup, node: str, rules: Sequence[tuple[str, ...]]) -> Undo:
    """Rules for what the node gets, and for what all others get from it.

    A packet that its sender's own machine drops is no lost one, so they stand where packets arrive.
    """
    program = shutil.which("iptables-legacy") or shutil.which("iptables")
    if program is None:
        raise Unavailable("no iptables here")
    address = group.node(node).address
    undo: list[list[str]] = []
    for place in [one.node for one in group.nodes]:
        inside = (*_inside(group, place), program)
        where = ("INPUT", "-i", "eth0", *(() if place == node else ("-s", address)))
        for rule in rules:
            done = subprocess.run([*inside, "-A", *where, *rule], check=False, capture_output=True)
            if done.returncode:
                _delete(undo)
                raise Unavailable(f"iptables rejects: {done.stderr.decode().strip()}")
            undo.append([*inside, "-D", *where, *rule])
    return partial(_delete, undo)


def _delete(rules: list[list[str]]) -> None:
    """A node that has started again since keeps its network: each rule is there still."""
    for rule in rules:
        subprocess.run(rule, check=True, capture_output=True)


def _inside(group: LocalGroup, node: str) -> tuple[str, ...]:
    return ("nsenter", "-n", "-t", str(group.processes(node, "multinode")[0]))
