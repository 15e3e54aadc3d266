"""How a head and a worker prove to each other that they know the group's token, without sending it. Pure.

One secret, the token, and a key for each purpose derived from it (HKDF, RFC 5869). The worker asks for a
challenge, then opens the WebSocket with its nonce, its claim (who it is) and its proof: an HMAC over all of
these under a key that only workers use. The head answers with its own claim and its own proof under another
key, so that neither side's words can be sent back to it. Every message after that carries a tag under a key
of this connection, in the order in which it was sent: somebody in between can end a connection, nothing else.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

NONCE_BYTES: Final = 16
_SALT: Final = b"vllm-multinode"
_DIGEST: Final = hashlib.sha256
_TAG: Final = 32
"""Hexadecimal digits of a message's tag: 128 bits."""


def derive(secret: str, purpose: str, context: bytes = b"") -> bytes:
    """A key of 32 bytes for one purpose (HKDF-SHA256 with one block of output)."""
    extracted = hmac.digest(_SALT, secret.encode(), _DIGEST)
    return hmac.digest(extracted, purpose.encode() + b"\0" + context + b"\x01", _DIGEST)


def new_nonce() -> str:
    """Fresh for every connection."""
    return secrets.token_hex(NONCE_BYTES)


def _joined(*parts: str) -> bytes:
    """Parts with their lengths before them, so that no two lists of parts read the same."""
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


@dataclass(frozen=True)
class Transcript:
    """What both sides have said before the WebSocket opens.

    Attributes:
        nonce: the worker's.
        challenge: the head's.
        worker: the worker's claim, as sent.
        head: the head's claim, as sent; empty where the worker proves itself before it has heard it.
    """

    nonce: str
    challenge: str
    worker: str
    head: str = ""

    def workers_proof(self, token: str) -> str:
        """The worker knows the token, and claims this, now, to whoever gave the challenge."""
        key = derive(token, "membership: proof of a worker")
        return hmac.digest(key, _joined(self.nonce, self.challenge, self.worker), _DIGEST).hex()

    def heads_proof(self, token: str) -> str:
        """The head knows the token, and answers this worker's nonce."""
        key = derive(token, "membership: proof of a head")
        return hmac.digest(key, self._whole(), _DIGEST).hex()

    def seals(self, token: str | None) -> tuple["Seal", "Seal"]:
        """For messages from the worker, and for those from the head."""
        if token is None:
            return Seal(None), Seal(None)
        whole = self._whole()
        return (
            Seal(derive(token, "membership: messages of a worker", whole)),
            Seal(derive(token, "membership: messages of a head", whole)),
        )

    def _whole(self) -> bytes:
        return _joined(self.nonce, self.challenge, self.worker, self.head)


def same(left: str, right: str) -> bool:
    """Compare two proofs in constant time; either may be anything that arrives in an HTTP header."""
    encoded = (text.encode("utf-8", "surrogatepass") for text in (left, right))
    return hmac.compare_digest(*encoded)


class SealError(Exception):
    """A message that was not sent by the other side, or not in this place."""


class Seal:
    """Tags the messages of one direction of one connection.

    Args:
        key: of the direction; None where the group has no token, and messages go as they are.
    """

    def __init__(self, key: bytes | None) -> None:
        self._key = key
        self._count = 0

    def close(self, text: str) -> str:
        """The next message to send."""
        return text if self._key is None else self._tag(self._key, text) + text

    def open(self, frame: str) -> str:
        """The text of the next message that was received.

        Raises:
            SealError: it is not the one that the other side sent next.
        """
        if self._key is None:
            return frame
        tag, text = frame[:_TAG], frame[_TAG:]
        if not same(tag, self._tag(self._key, text)):
            raise SealError("a message does not carry the mark of this connection")
        return text

    def _tag(self, key: bytes, text: str) -> str:
        counted = self._count.to_bytes(8, "big") + text.encode("utf-8", "surrogatepass")
        self._count += 1
        return hmac.digest(key, counted, _DIGEST).hex()[:_TAG]


class Challenges:
    """The head's challenges: each is good once, and only for a short time.

    Nothing is kept for one that was given out, so asking for many costs nothing. Only those that were
    answered with a right proof are remembered, until they expire.

    Args:
        now: the clock, in seconds.
        lifetime: seconds.
    """

    def __init__(self, now: Callable[[], float], lifetime: float = 10) -> None:
        self._now = now
        self._lifetime = lifetime
        self._key = secrets.token_bytes(32)
        self._used: dict[str, float] = {}

    def new(self) -> str:
        """A challenge that nobody was given before."""
        body = f"{secrets.token_hex(NONCE_BYTES)}.{self._now() + self._lifetime:.3f}"
        return f"{body}.{self._mark(body)}"

    def valid(self, challenge: str) -> bool:
        """Was it given out here, not too long ago, and not answered yet?"""
        body, _, mark = challenge.rpartition(".")
        if not same(mark, self._mark(body)) or challenge in self._used:
            return False
        return self._expiry(challenge) >= self._now()

    def use(self, challenge: str) -> None:
        """It was answered with a right proof, and is worth nothing from now on."""
        now = self._now()
        self._used = {old: expiry for old, expiry in self._used.items() if expiry >= now}
        self._used[challenge] = self._expiry(challenge)

    def _mark(self, body: str) -> str:
        return hmac.digest(self._key, body.encode("utf-8", "surrogatepass"), _DIGEST).hex()

    @staticmethod
    def _expiry(challenge: str) -> float:
        return float(challenge.split(".", 1)[1].rpartition(".")[0])
