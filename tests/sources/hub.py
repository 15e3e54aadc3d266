"""Plays the Hugging Face Hub: its list of files, its redirect to a store, its refusals."""

import hashlib
import json
from collections.abc import Mapping

from sources.servers import Answer, Asked, Server

TOKEN = "hf_aSecretThatNobodyMaySee"
SIGNATURE = "X-Signature=aSignatureThatNobodyMaySee"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "org/name"
_LARGE = 100_000


def hub(
    files: Mapping[str, bytes],
    *,
    gated: bool = False,
    store: Server | None = None,
    repository: str = REPOSITORY,
) -> Server:
    """A hub with one model; large files lie in `store`, where there is one.

    Args:
        files: of the model.
        gated: without the token it is rejected.
        store: another server, that gets a redirect with a signature.
        repository: the model's name.
    """

    def handle(asked: Asked) -> Answer:
        if gated and asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Answer(401, {"X-Error-Code": "GatedRepo"}, b'{"error": "gated"}')
        if asked.path.startswith(f"/api/models/{repository}/revision/"):
            return _listing(repository, files, asked.path.rpartition("/")[2])
        name = asked.path.removeprefix(f"/{repository}/resolve/{COMMIT}/")
        if name not in files:
            return Answer(404, {"X-Error-Code": "EntryNotFound"})
        if store is not None and len(files[name]) > _LARGE:
            return Answer(302, {"Location": f"{store.url}/{name}?{SIGNATURE}"})
        return Answer(body=files[name], file=True)

    return Server(handle)


def store(files: Mapping[str, bytes]) -> Server:
    """Where a hub redirects to: wants the signature, and must not be shown the hub's token."""

    def handle(asked: Asked) -> Answer:
        if asked.query != SIGNATURE or "authorization" in asked.headers:
            return Answer(400)
        return Answer(body=files[asked.path.removeprefix("/")], file=True)

    return Server(handle)


def _listing(repository: str, files: Mapping[str, bytes], revision: str) -> Answer:
    if revision not in ("main", COMMIT):
        return Answer(404, {"X-Error-Code": "RevisionNotFound"})
    siblings = [_sibling(name, content) for name, content in files.items()]
    body = json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()
    return Answer(headers={"Content-Type": "application/json"}, body=body)


def _sibling(name: str, content: bytes) -> dict[str, object]:
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    one: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
    if len(content) > _LARGE:
        one["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 135}
    return one
