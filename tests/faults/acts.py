"""What breaks a group, each as a function that returns what ends the fault."""

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Final

from engine.services import LocalGroup, eventually
from vllm_multinode.contract import env
from vllm_multinode.contract.exit_codes import ExitCode

Undo = Callable[[], object]
Act = Callable[[LocalGroup], Undo]

_START: Final = 300.0
_END: Final = 120.0
_STRAY: Final = "stray"


class Unavailable(Exception):  # noqa: N818 - an answer, not an error
    """This machine cannot be broken in that way; says why."""


def nothing() -> None:
    """A fault that ends by itself."""


def _signal(group: LocalGroup, node: str, words: tuple[str, ...], number: signal.Signals) -> list[int]:
    """Signal the first process of the node that has one of the words in its title."""
    pids = next(filter(None, (group.processes(node, word) for word in words)), [])
    assert pids, f"no process of {node} has one of {words} in its title"
    os.kill(pids[-1], number)
    return pids[-1:]


def killed(node: str, *words: str) -> Act:
    """SIGKILL to one process of the engine."""

    def act(group: LocalGroup) -> Undo:
        _signal(group, node, words, signal.SIGKILL)
        return nothing

    return act


def stopped(node: str, *words: str) -> Act:
    """SIGSTOP to one process; the epoch's end kills it."""

    def act(group: LocalGroup) -> Undo:
        pids = _signal(group, node, words, signal.SIGSTOP)

        def undo() -> None:
            for pid in pids:
                if os.path.exists(f"/proc/{pid}"):  # noqa: PTH110 - no file is meant
                    os.kill(pid, signal.SIGCONT)

        return undo

    return act


def node_killed(node: str) -> Act:
    """Everything on it at once; it starts again in place."""

    def act(group: LocalGroup) -> Undo:
        group.act("kill", node)
        return nothing

    return act


def frozen(node: str) -> Act:
    """Every process of the node stands still."""

    def act(group: LocalGroup) -> Undo:
        group.act("freeze", node)
        return partial(group.act, "thaw", node)

    return act


def replaced(node: str) -> Act:
    """The pod is deleted, and another one with another name and address comes."""

    def act(group: LocalGroup) -> Undo:
        group.act("replace", node, grace=0)
        return nothing

    return act


def asked_to_stop(node: str) -> Act:
    """SIGTERM, as at a pod's deletion; it starts again once it has ended."""

    def act(group: LocalGroup) -> Undo:
        group.act("stop", node)
        return partial(group.act, "start", node)

    return act


def killed_again(node: str, *words: str) -> Act:
    """A process of the engine, and the whole node as soon as the next epoch starts."""

    def act(group: LocalGroup) -> Undo:
        epoch = group.status()["epoch"]
        _signal(group, node, words, signal.SIGKILL)

        def again() -> None:
            group.wait_for("starting", epoch=epoch + 1)
            group.act("kill", node)

        return again

    return act


def all_killed(*nodes: str) -> Act:
    """Several nodes at once."""

    def act(group: LocalGroup) -> Undo:
        for node in nodes:
            group.act("kill", node)
        return nothing

    return act


def _serves(group: LocalGroup, after: int = 0) -> int:
    """The epoch that serves, if it is a later one; else 0."""
    status = group.status()
    serves = status.get("state") == "serving" and group.ready() == 200 and status["epoch"] > after
    return int(status["epoch"]) if serves else 0


def _killed_as_often_as_it_serves(group: LocalGroup, times: int, node: str, words: tuple[str, ...]) -> None:
    last = 0
    for _ in range(times):
        last = eventually(partial(_serves, group, last), _START, group.shown)
        group.wait_until_serving(last, _START)
        _signal(group, node, words, signal.SIGKILL)


def killed_in_a_row(times: int, node: str, *words: str) -> Act:
    """A process of the engine, each time that the group serves."""

    def act(group: LocalGroup) -> Undo:
        _killed_as_often_as_it_serves(group, times, node, words)
        return nothing

    return act


def killed_until_the_end(times: int, node: str, *words: str) -> Act:
    """A process of the engine, so often that the budget is used up: the head gives up, and says so."""

    def act(group: LocalGroup) -> Undo:
        _killed_as_often_as_it_serves(group, times, node, words)
        return partial(_ends, group, ExitCode.RECOVERY_BUDGET, "recoveries in a row")

    return act


def never_returns(node: str) -> Act:
    """A node that is killed and stays away: the head gives up, says who is missing, and starts again."""

    def act(group: LocalGroup) -> Undo:
        pod = group.node(node).pod
        group.act("kill", node, stay_dead=True)

        def undo() -> None:
            try:
                _ends(group, ExitCode.MEMBERS_MISSING, pod)
            finally:
                group.act("start", node)

        return undo

    return act


def _ends(group: LocalGroup, code: ExitCode, words: str) -> None:
    ends("head", group, code, words)


def ends(name: str, group: LocalGroup, code: ExitCode, words: str) -> None:
    """Wait until a container of the node has ended with that code, and those words."""

    def told() -> bool:
        node = group.node(name)
        return node.exit_code == code and words in node.termination

    eventually(told, _END, group.shown)


def poisoned(times: int, *words: str) -> Act:
    """A request during which EngineCore dies, sent again by its client as soon as the group serves."""

    def act(group: LocalGroup) -> Undo:
        for _ in range(times):
            eventually(partial(_serves, group), _START, group.shown)
            _ask_and_kill(group, words)
        return nothing

    return act


def _ask_and_kill(group: LocalGroup, words: tuple[str, ...]) -> None:
    body = {"model": "llm", "prompt": "a", "max_tokens": 1500, "ignore_eos": True, "stream": True}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(
        f"{group.apis['head']}/v1/completions", json.dumps(body).encode(), headers
    )
    try:
        with urllib.request.urlopen(request, timeout=_END) as answer:
            answer.readline()
            _signal(group, "head", words, signal.SIGKILL)
            said = answer.read().decode()
    except urllib.error.HTTPError as refusal:
        if refusal.code != 503:
            raise
        # It came before the group was ready for it: the client tries again.
        time.sleep(1)
        return
    assert '"error"' in said, f"the stream broke off after {said[-80:]!r}"


def waits(_: LocalGroup) -> Undo:
    """What was prepared is the fault."""
    return nothing


def beside(why: str, named_as: str = "", **variables: str) -> Act:
    """One more worker asks for a place, and is rejected.

    Args:
        why: words of the refusal, as the stray tells it.
        named_as: the node whose pod's name it has; its own where empty.
        variables: of its environment, other than the first worker's.
    """

    def act(group: LocalGroup) -> Undo:
        like = group.pods[1]
        fields, more = dict(like.fields), {env.WARM_RESTART: "false", **variables}
        if named_as:
            del fields[env.POD_NAME]
            more[env.POD_NAME] = group.node(named_as).pod
        group.add(like.model_copy(update={"node": _STRAY, "fields": fields, "env": {**like.env, **more}}))
        eventually(lambda: why in group.node(_STRAY).reason, _END, group.shown)
        return partial(group.act, "remove", _STRAY, grace=0)

    return act


def impossible(why: str) -> Act:
    """A fault that no machine can be given without giving it to everything else on it."""

    def act(_: LocalGroup) -> Undo:
        raise Unavailable(why)

    return act
