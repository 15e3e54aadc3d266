"""Both sides of what is said before a WebSocket opens, against anything that may stand in a header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from unit.launcher.pods import identity
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.group import FullError, Group
from vllm_multinode.launcher.handshake import (
    CHALLENGE,
    HEAD,
    NONCE,
    PROOF,
    WORKER,
    HeadsSide,
    UnprovenError,
    WorkersSide,
    refusal_headers,
    refusal_in,
)
from vllm_multinode.launcher.messages import Claim, Refused
from vllm_multinode.launcher.proof import Challenges
from vllm_multinode.launcher.settings import GroupName, Sizes

NAME = GroupName(service="llm", generation="3")
TOKEN = "the group's token"
HEADERS = st.dictionaries(st.sampled_from([NONCE, CHALLENGE, WORKER, HEAD, PROOF]), st.text(max_size=200))


def head(token: str | None = TOKEN, name: GroupName = NAME) -> HeadsSide:
    return HeadsSide(token, Claim(pod="head", group=name), Challenges(lambda: 0.0))


def worker(side: HeadsSide, token: str | None = TOKEN) -> WorkersSide:
    return WorkersSide(token, Claim(pod="w", group=NAME), side.challenges.new())


@given(HEADERS)
def test_a_head_with_a_token_lets_nobody_in_by_chance(headers: dict[str, str]) -> None:
    with pytest.raises(MultinodeError) as refused:
        head().let_in(headers, "10.0.0.9")
    assert refused.value.code in (ExitCode.TOKEN, ExitCode.VERSIONS_DIFFER)


@given(HEADERS)
def test_a_worker_with_a_token_takes_nobody_for_its_head_by_chance(headers: dict[str, str]) -> None:
    with pytest.raises(UnprovenError):
        worker(head()).check(headers)


@given(st.sampled_from([NONCE, CHALLENGE, WORKER, PROOF]), st.integers(0, 400), st.characters(codec="ascii"))
def test_one_character_of_a_proof_that_is_changed_is_one_too_many(name: str, place: int, by: str) -> None:
    side = head()
    headers = worker(side).headers()
    place %= len(headers[name])
    changed = headers[name][:place] + by + headers[name][place + 1 :]
    if changed == headers[name]:
        side.let_in(headers, "10.0.0.9")
        return
    with pytest.raises(MultinodeError):
        side.let_in(headers | {name: changed}, "10.0.0.9")


def test_both_sides_derive_the_same_seals() -> None:
    side = head()
    mine = worker(side)
    _, said = side.let_in(mine.headers(), "10.0.0.9")
    outgoing, incoming = mine.check(side.answer(said)).seals(TOKEN)
    theirs, its = said.seals(TOKEN)
    assert theirs.open(outgoing.close("hello")) == "hello"
    assert incoming.open(its.close("welcome")) == "welcome"


def test_a_relayed_answer_of_another_groups_head_is_seen() -> None:
    side = head(name=GroupName(service="llm", generation="2"))
    mine = worker(side)
    _, said = side.let_in(mine.headers(), "10.0.0.9")
    with pytest.raises(UnprovenError, match="generation 2, not 3"):
        mine.check(side.answer(said))


@given(st.text(max_size=3000), st.text(max_size=3000))
def test_a_refusal_fits_into_a_header(what: str, hint: str) -> None:
    headers = refusal_headers(Refused(code=ExitCode.GROUP, what=what, hint=hint, final=False))
    (value,) = headers.values()
    assert len(value) < 8190
    assert value.isascii()
    assert value.isprintable()
    found = refusal_in(headers)
    assert found is not None
    assert (found.code, found.final) == (ExitCode.GROUP, False)


@given(st.text(max_size=300))
def test_whatever_else_stands_there_is_no_refusal(text: str) -> None:
    assert refusal_in({"Multinode-Refused": text}) is None


class Membership(RuleBasedStateMachine):
    """Anybody may ask for a place at any time; a member loses its own by leaving or by silence alone."""

    NODES = 3
    PODS = st.sampled_from(["a", "b", "c", "head"])
    INSTANCES = st.sampled_from(["", "1", "2"])

    def __init__(self) -> None:
        super().__init__()
        sizes = Sizes(tensor_parallel=2, pipeline_parallel=self.NODES, nodes=self.NODES)
        self.group = Group(head=identity(gpus=2), sizes=sizes, executor="ray", told=NAME)

    @rule(
        pod=PODS,
        instance=INSTANCES,
        gpus=st.sampled_from([1, 2, 4]),
        fingerprint=st.sampled_from(["f" * 64, "0"]),
        generation=st.sampled_from(["3", "2", None]),
    )
    def asks(self, pod: str, instance: str, gpus: int, fingerprint: str, generation: str | None) -> None:
        before = dict(self.group.members)
        newcomer = identity(pod, instance=instance, gpus=gpus, fingerprint=fingerprint)
        name = NAME.model_copy(update={"generation": generation})
        try:
            self.group.admit(newcomer, name, now=0)
        except (MultinodeError, FullError):
            assert self.group.members == before
            return
        assert fingerprint == "f" * 64
        assert generation != "2"
        others = {other: member for other, member in before.items() if other != pod}
        assert {other: self.group.members[other] for other in others} == others
        if pod in before:
            assert instance
            assert before[pod].identity.instance == instance

    @rule(pod=PODS)
    def leaves(self, pod: str) -> None:
        member = self.group.members.get(pod)
        if member is not None:
            member.leaving = True

    @rule(pod=PODS)
    def is_lost(self, pod: str) -> None:
        self.group.remove(pod)

    @invariant()
    def every_rank_is_held_once(self) -> None:
        ranks = [member.rank for member in self.group.staying]
        assert len(ranks) == len(set(ranks))
        assert set(ranks) <= set(range(1, self.NODES))

    @invariant()
    def a_whole_group_holds_enough(self) -> None:
        if self.group.complete:
            assert sum(self.group.gpus.values()) >= self.group.sizes.world


TestMembership = Membership.TestCase
