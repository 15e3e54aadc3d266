import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_multinode.launcher.proof import Challenges, Seal, SealError, Transcript, derive, new_nonce, same

PARTS = st.text(max_size=20)


def test_a_key_for_each_purpose_and_context() -> None:
    keys = {derive("s", "a"), derive("s", "b"), derive("t", "a"), derive("s", "a", b"x")}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {32}


def test_derivation_is_hkdf_with_one_block() -> None:
    # RFC 5869, 2.2 and 2.3, with T(0) empty and N = 1.
    extracted = hmac.new(b"vllm-multinode", b"secret", hashlib.sha256).digest()
    assert derive("secret", "x", b"y") == hmac.new(extracted, b"x\0y\x01", hashlib.sha256).digest()


@given(PARTS, PARTS, PARTS, PARTS, st.lists(PARTS, min_size=4, max_size=4))
def test_another_transcript_or_token_is_another_proof(
    nonce: str, challenge: str, worker: str, head: str, other: list[str]
) -> None:
    said, changed = Transcript(nonce, challenge, worker, head), Transcript(*other)
    if said != changed:
        assert said.heads_proof("t") != changed.heads_proof("t")
    assert said.heads_proof("t") not in (said.heads_proof("u"), said.workers_proof("t"))


def test_parts_cannot_be_shifted_into_each_other() -> None:
    assert Transcript("ab", "c", "d").workers_proof("t") != Transcript("a", "bc", "d").workers_proof("t")


def test_nonces_are_fresh() -> None:
    assert len({new_nonce() for _ in range(100)}) == 100


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_anything_can_be_compared(left: str, right: str) -> None:
    # A header that is not UTF-8 arrives with surrogates.
    assert same(left, right) is (left == right)


class TestSeal:
    @given(st.lists(st.text(max_size=50), max_size=5))
    def test_what_is_sealed_arrives_in_order(self, texts: list[str]) -> None:
        mine, _ = Transcript("n", "c", "w", "h").seals("t")
        its, _ = Transcript("n", "c", "w", "h").seals("t")
        assert [its.open(mine.close(text)) for text in texts] == texts

    @pytest.mark.parametrize(
        ("before", "frame"),
        [
            pytest.param((), 1, id="one-left-out"),
            pytest.param((0,), 0, id="twice"),
            pytest.param((0, 1), 0, id="an-old-one"),
        ],
    )
    def test_the_order_counts(self, before: tuple[int, ...], frame: int) -> None:
        mine, _ = Transcript("n", "c", "w", "h").seals("t")
        its, _ = Transcript("n", "c", "w", "h").seals("t")
        sealed = [mine.close("a"), mine.close("b")]
        for number in before:
            its.open(sealed[number])
        with pytest.raises(SealError):
            its.open(sealed[frame])

    def test_a_message_of_the_other_direction_is_refused(self) -> None:
        worker, head = Transcript("n", "c", "w", "h").seals("t")
        with pytest.raises(SealError):
            worker.open(head.close("a"))

    @given(st.text(max_size=60))
    def test_whatever_else_comes_is_refused(self, frame: str) -> None:
        worker, _ = Transcript("n", "c", "w", "h").seals("t")
        with pytest.raises(SealError):
            worker.open(frame)

    def test_without_a_token_messages_go_as_they_are(self) -> None:
        assert Seal(None).open(Seal(None).close("a")) == "a"


class TestChallenges:
    def test_each_is_good_once_and_for_a_short_time(self) -> None:
        now = [0.0]
        found = Challenges(lambda: now[0], lifetime=10)
        first, second = found.new(), found.new()
        assert first != second
        assert found.valid(first)
        found.use(first)
        assert not found.valid(first)
        assert found.valid(second)
        now[0] = 10.1
        assert not found.valid(second)

    def test_only_what_was_given_out_here_counts(self) -> None:
        now = Challenges(lambda: 0.0)
        assert not now.valid(Challenges(lambda: 0.0).new())
        body, _, mark = now.new().rpartition(".")
        nonce, _, expiry = body.partition(".")
        assert not now.valid(f"{nonce}.{float(expiry) + 1000:.3f}.{mark}")

    @given(st.text(max_size=80))
    def test_nothing_else_does(self, text: str) -> None:
        assert not Challenges(lambda: 0.0).valid(text)

    def test_used_ones_are_forgotten_once_expired(self) -> None:
        now = [0.0]
        found = Challenges(lambda: now[0], lifetime=1)
        for _ in range(100):
            found.use(found.new())
            now[0] += 1
        assert len(found._used) <= 2
