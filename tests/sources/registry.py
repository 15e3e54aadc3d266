"""Plays a registry of images: manifests, blobs with ranges, a token for a password, a redirect to a store."""

import base64
import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence

from sources.servers import Answer, Asked, Server

PASSWORD = "aRegistryPasswordThatNobodyMaySee"
BEARER = "aBearerTokenThatNobodyMaySee"
REPOSITORY = "team/model"
TAG = "v1"
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


def layer(files: Mapping[str, bytes], *, packed: bool = False, folders: Sequence[str] = ()) -> bytes:
    """A tar of files; a name with ".wh." removes what a lower layer has."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in folders:
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return gzip.compress(content.getvalue(), 1, mtime=0) if packed else content.getvalue()


def image(blobs: Sequence[bytes], titles: Sequence[str] = ()) -> dict[str, bytes]:
    """What a registry holds of an image: manifests by tag and digest, blobs by digest.

    Args:
        blobs: of the layers.
        titles: file names of an artifact's blobs; none for an image.
    """
    kind = "application/octet-stream" if titles else _LAYER
    layers = [
        {"mediaType": kind, "digest": _digest(blob), "size": len(blob)}
        | ({"annotations": {"org.opencontainers.image.title": titles[number]}} if titles else {})
        for number, blob in enumerate(blobs)
    ]
    manifest = json.dumps({"schemaVersion": 2, "mediaType": _MANIFEST, "layers": layers}).encode()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    entries = [
        {"mediaType": _MANIFEST, "digest": f"sha256:{'0' * 64}", "platform": {"architecture": "sparc"}},
        {"mediaType": _MANIFEST, "digest": _digest(manifest), "platform": {"architecture": machine}},
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries}).encode()
    return {TAG: index, _digest(manifest): manifest, **{_digest(blob): blob for blob in blobs}}


def registry(held: Mapping[str, bytes], *, private: bool = False, store: Server | None = None) -> Server:
    """A registry with one image; `private` wants a token, blobs may lie in `store`."""
    server: Server

    def handle(asked: Asked) -> Answer:
        if asked.path == "/token":
            basic = base64.b64encode(f"robot:{PASSWORD}".encode()).decode()
            if asked.headers.get("authorization") != f"Basic {basic}" or "scope=" not in asked.query:
                return Answer(401)
            return Answer(body=json.dumps({"token": BEARER}).encode())
        if private and asked.headers.get("authorization") != f"Bearer {BEARER}":
            scope = f"repository:{REPOSITORY}:pull"
            challenge = f'Bearer realm="{server.url}/token",service="here",scope="{scope}"'
            return Answer(401, {"WWW-Authenticate": challenge}, b"{}")
        start = f"/v2/{REPOSITORY}/"
        kind, _, name = asked.path.removeprefix(start).partition("/")
        if not asked.path.startswith(start) or name not in held:
            return Answer(404, body=b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        if kind == "blobs" and store is not None:
            return Answer(307, {"Location": f"{store.url}/{name}?X-Signature=none"})
        return Answer(body=held[name], file=kind == "blobs")

    server = Server(handle)
    return server


def store(held: Mapping[str, bytes]) -> Server:
    """Where a registry redirects to; must not be shown its token."""

    def handle(asked: Asked) -> Answer:
        if "authorization" in asked.headers:
            return Answer(400)
        return Answer(body=held[asked.path.removeprefix("/")], file=True)

    return Server(handle)


def pull_secret(host: str) -> str:
    """A Secret of type kubernetes.io/dockerconfigjson."""
    auth = base64.b64encode(f"robot:{PASSWORD}".encode()).decode()
    return json.dumps({"auths": {host: {"auth": auth}, "elsewhere.example": {"auth": "bm86bm8="}}})


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
