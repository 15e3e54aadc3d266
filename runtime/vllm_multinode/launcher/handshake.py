"""What is said before a WebSocket of the group opens: the head's side and the worker's, over HTTP headers.

The worker asks `GET /group/challenge` where it has a token, and then opens `GET /group` with its claim, its
nonce and its proof. The head answers 401 with a reason, or opens the WebSocket with its own claim and proof.
"""

import json
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ValidationError

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.messages import PROTOCOL, Claim, Refused
from vllm_multinode.launcher.proof import Challenges, Transcript, new_nonce, same
from vllm_multinode.launcher.text import printable

CHALLENGE_PATH: Final = "/group/challenge"
PATH: Final = "/group"

NONCE: Final = "Multinode-Nonce"
CHALLENGE: Final = "Multinode-Challenge"
WORKER: Final = "Multinode-Worker"
HEAD: Final = "Multinode-Head"
PROOF: Final = "Multinode-Proof"
REFUSED: Final = "Multinode-Refused"

_SAME_IMAGE: Final = "Run the same image on head and workers."
# aiohttp reads header fields of up to 8,190 bytes, and one character may become six.
_IN_A_HEADER: Final = 500
_SAME_SECRET: Final = "Mount the same Secret on head and workers."  # noqa: S105 - a hint


class HeadsSide:
    """Lets workers in that prove themselves, and proves itself to them.

    Args:
        token: of the group, or None.
        claim: the head's, for its workers to compare.
        challenges: good once each.
    """

    def __init__(self, token: str | None, claim: Claim, challenges: Challenges) -> None:
        self._token = token
        self._claim = _ascii(claim)
        self.challenges = challenges

    def let_in(self, headers: Mapping[str, str], peer: str) -> tuple[Claim, Transcript]:
        """The worker's claim, and what was said so far.

        Args:
            headers: of its request.
            peer: its address, for messages.

        Raises:
            MultinodeError: it speaks another protocol, or proves nothing.
        """
        claim = _claim(headers, peer)
        said = Transcript(
            nonce=headers.get(NONCE, ""),
            challenge=headers.get(CHALLENGE, ""),
            worker=headers.get(WORKER, ""),
            head=self._claim,
        )
        proof = headers.get(PROOF, "")
        lack = self._lack(said, proof)
        if lack:
            who = f"worker {claim.pod} ({peer})"
            raise MultinodeError(ExitCode.TOKEN, f"{who} {lack}.", hint=_SAME_SECRET)
        if self._token is not None:
            self.challenges.use(said.challenge)
        return claim, said

    def _lack(self, said: Transcript, proof: str) -> str:
        if self._token is None:
            return "presents a token and the head has none" if proof else ""
        if not proof:
            return "presents no token"
        if not self.challenges.valid(said.challenge):
            return "answers a challenge that this head has not given, or that has expired or was answered"
        if not same(proof, said.workers_proof(self._token)):
            return "presents another token than the head's"
        return ""

    def answer(self, said: Transcript) -> dict[str, str]:
        """The headers with which the WebSocket opens."""
        proof = {} if self._token is None else {PROOF: said.heads_proof(self._token)}
        return {HEAD: self._claim, **proof}


def _claim(headers: Mapping[str, str], peer: str) -> Claim:
    try:
        claim = Claim.model_validate_json(headers.get(WORKER, ""))
    except ValidationError as error:
        raise _another_protocol(peer) from error
    if claim.protocol != PROTOCOL:
        raise _another_protocol(peer)
    return claim


def _another_protocol(peer: str) -> MultinodeError:
    return MultinodeError(
        ExitCode.VERSIONS_DIFFER,
        f"{peer} does not speak this head's protocol {PROTOCOL}.",
        hint=_SAME_IMAGE,
    )


def refusal_headers(refused: Refused) -> dict[str, str]:
    """What a client of ours can read of a WebSocket that did not open."""
    short = {"what": printable(refused.what, _IN_A_HEADER), "hint": printable(refused.hint, _IN_A_HEADER)}
    return {REFUSED: _ascii(refused.model_copy(update=short))}


def _ascii(message: BaseModel) -> str:
    return json.dumps(message.model_dump(mode="json"))


class UnprovenError(MultinodeError):
    """Who answers under the head's name has not proven that it is this worker's head; says why."""


class WorkersSide:
    """One try to join.

    Args:
        token: of the group, or None.
        claim: the worker's.
        challenge: the head's answer to `GET /group/challenge`; empty without a token.
    """

    def __init__(self, token: str | None, claim: Claim, challenge: str) -> None:
        self._token = token
        self._group = claim.group
        self._said = Transcript(new_nonce(), challenge, _ascii(claim))

    def headers(self) -> dict[str, str]:
        """Those of the request that opens the WebSocket."""
        said = {NONCE: self._said.nonce, CHALLENGE: self._said.challenge, WORKER: self._said.worker}
        return said if self._token is None else said | {PROOF: self._said.workers_proof(self._token)}

    def check(self, headers: Mapping[str, str]) -> Transcript:
        """Hold the head to its proof before anything that it says is believed.

        Raises:
            UnprovenError: it has none, or a wrong one, or is the head of another group.
        """
        head = headers.get(HEAD, "")
        said = Transcript(self._said.nonce, self._said.challenge, self._said.worker, head)
        if self._token is not None:
            proof = headers.get(PROOF, "")
            if not same(proof, said.heads_proof(self._token)):
                lack = "another token than this worker's" if proof else "no token"
                raise UnprovenError(ExitCode.TOKEN, f"presents {lack}.", hint=_SAME_SECRET)
        try:
            claim = Claim.model_validate_json(head)
        except ValidationError as error:
            raise UnprovenError(
                ExitCode.VERSIONS_DIFFER, "speaks another protocol.", hint=_SAME_IMAGE
            ) from error
        difference = self._group.difference(claim.group)
        if difference is not None:
            raise UnprovenError(ExitCode.GROUP, f"belongs to {difference}.")
        return said


def refusal_in(headers: Mapping[str, str]) -> Refused | None:
    """The reason of a WebSocket that did not open, where it was given."""
    try:
        return Refused.model_validate_json(headers.get(REFUSED, ""))
    except ValidationError:
        return None
