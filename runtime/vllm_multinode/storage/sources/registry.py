"""oci://registry/repository:tag: an image with a model below /models (a modelcar), or an artifact of files.

The API: https://github.com/opencontainers/distribution-spec; the token: distribution's token specification.
"""

import hashlib
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import requests

from vllm_multinode.checkpoint.marker import MarkedFile
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.sources import layers, web
from vllm_multinode.storage.sources.digests import Digest
from vllm_multinode.storage.sources.registry_auth import Challenge, credentials
from vllm_multinode.storage.sources.source import Item, Listing, no_address

_ADDRESS: Final = re.compile(
    r"(?P<registry>[A-Za-z0-9.-]+(:\d+)?)/(?P<repository>[a-z0-9._/-]+?)"
    r"(:(?P<tag>[\w.-]{1,128}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_KINDS: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_MOST_MANIFEST: Final = 4 << 20
"""Bytes; the specification lets a registry reject longer ones."""
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_TITLE: Final = "org.opencontainers.image.title"
_LOOPBACK: Final = re.compile(r"(localhost|127\.\d+\.\d+\.\d+)(:\d+)?")
_SECRET: Final = "a pull secret: REGISTRY_AUTH_FILE or DOCKER_CONFIG"  # noqa: S105 - a name


@dataclass
class Image:
    """An image in a registry. Its manifest is asked for once; blobs are named by their digests."""

    registry: str
    repository: str
    reference: str
    _session: requests.Session = field(default_factory=requests.Session)

    @classmethod
    def parse(cls, rest: str, environment: Mapping[str, str]) -> "Image":
        """Read what stands behind oci://, and the registry's credentials from a pull secret."""
        match = _ADDRESS.fullmatch(rest)
        if match is None or not (match["digest"] or match["tag"]):
            raise no_address(f"oci://{rest}")
        image = cls(match["registry"], match["repository"], match["digest"] or match["tag"])
        image._session.auth = Challenge(
            image._address, credentials(environment, f"{image.registry}/{image.repository}")
        )
        return image

    @property
    def name(self) -> str:
        """As it was asked for."""
        separator = "@" if self.reference.startswith("sha256:") else ":"
        return f"oci://{self.registry}/{self.repository}{separator}{self.reference}"

    def listing(self) -> Listing:
        """Ask for the manifest, of this machine's architecture where there are several."""
        manifest, digest = self._manifest(self.reference)
        if "manifests" in manifest:
            try:
                reference = _of_this_machine(manifest["manifests"])
            except (KeyError, TypeError, IndexError, AttributeError) as error:
                raise self._strange("its index names no manifest.") from error
            if not _DIGEST.fullmatch(reference):
                raise self._strange("its index names no manifest.")
            manifest, digest = self._manifest(reference)
        try:
            blobs = list(manifest["layers"])
            titles = [str((blob.get("annotations") or {}).get(_TITLE, "")) for blob in blobs]
            artifact = bool(blobs) and all(
                title and "tar" not in blob["mediaType"] for title, blob in zip(titles, blobs, strict=True)
            )
            items = tuple(
                _item(blob, title if artifact else "") for blob, title in zip(blobs, titles, strict=True)
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            what = "its manifest has no layers, or invalid ones."
            raise MultinodeError(ExitCode.MODEL_MISSING, what, where=self.name) from error
        return Listing(digest, items, unpack=None if artifact else self._unpack)

    def _unpack(self, blob: Path, directory: Path) -> dict[str, MarkedFile | None]:
        return layers.unpack(blob, directory, self.name)

    def read(self, item: Item, offset: int) -> tuple[int, Iterator[bytes]]:
        """Read a blob."""
        url = f"{self._api}/blobs/{item.version}"
        return web.ranged(self._session, url, dict, item.size, offset, self._check)

    def digest(self, item: Item) -> Digest | None:
        """The blob's name."""
        return item.digest

    @property
    def _address(self) -> str:
        # As every client of a registry does: this machine's own may lack TLS.
        scheme = "http" if _LOOPBACK.fullmatch(self.registry) else "https"
        return f"{scheme}://{self.registry}"

    @property
    def _api(self) -> str:
        return f"{self._address}/v2/{self.repository}"

    def _manifest(self, reference: str) -> tuple[dict[str, Any], str]:
        """A manifest or an index, with its digest."""
        url = f"{self._api}/manifests/{reference}"
        response = web.get(self._session, url, {"Accept": ", ".join(_KINDS)})
        self._check(response)
        content = web.content_of(response, _MOST_MANIFEST)
        digest = f"sha256:{hashlib.sha256(content or b'').hexdigest()}"
        if reference.startswith("sha256:") and reference != digest:
            raise self._strange("its manifest does not match its digest.")
        found = web.object_in(content)
        if found is None:
            raise self._strange("its manifest is not a JSON object, or longer than a registry allows.")
        return found, digest

    def _check(self, response: requests.Response) -> None:
        web.refuse(response, self.name, secret=_SECRET)

    def _strange(self, what: str) -> MultinodeError:
        hint = "Check that this is a registry, and that no proxy answers in its place."
        return MultinodeError(ExitCode.SOURCE_UNREACHABLE, what, where=self.name, hint=hint)


def _item(blob: Mapping[str, Any], title: str) -> Item:
    digest = str(blob["digest"])
    algorithm, _, value = digest.partition(":")
    size = int(blob["size"])
    if algorithm != "sha256" or not _HEX.fullmatch(value) or size < 0:
        raise ValueError(digest)
    return Item(title or f"sha256-{value}", size, Digest("sha256", value), digest)


def _of_this_machine(manifests: Any) -> str:
    """The digest of the manifest for this architecture; the first one where none says that it is."""
    machine = _MACHINES.get(platform.machine(), platform.machine())
    for one in manifests:
        if (one.get("platform") or {}).get("architecture") == machine:
            return str(one["digest"])
    return str(manifests[0]["digest"])
