"""hf://org/name[@revision]: a model of the Hugging Face Hub, or of a mirror with its API (HF_ENDPOINT).

The API: https://huggingface.co/docs/hub/api (models/{repo}/revision/{revision}?blobs=true, {repo}/resolve/…).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import requests

from vllm_multinode.contract import env
from vllm_multinode.contract.bounded import read_bounded
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.sources import web
from vllm_multinode.storage.sources.digests import Digest
from vllm_multinode.storage.sources.source import Item, Listing, no_address

_ENDPOINT: Final = "https://huggingface.co"
_ADDRESS: Final = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+?)(@(?P<revision>[\w./-]+))?/?")
_COMMIT: Final = re.compile(r"[\w.-]{1,128}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SHA1: Final = re.compile(r"[0-9a-f]{40}")
_ANY: Final = re.compile(r".+", re.DOTALL)
_TOKEN: Final = re.compile(r"[!-~]{1,4096}")
_MOST_TOKEN: Final = 1 << 16
_MOST_LISTING: Final = 32 << 20
_SECRET: Final = "HF_TOKEN, and accept the model's licence on its page"  # noqa: S105 - a name


@dataclass
class Hub:
    """One revision of one model. The commit is asked for once, and every file is read at that commit."""

    repository: str
    revision: str
    endpoint: str
    token: str | None = field(repr=False)
    _session: requests.Session = field(default_factory=requests.Session)
    _commit: str = ""

    @classmethod
    def parse(cls, rest: str, environment: Mapping[str, str]) -> "Hub":
        """Read what stands behind hf://, and the token from HF_TOKEN or from the file of HF_TOKEN_PATH."""
        match = _ADDRESS.fullmatch(rest)
        if match is None:
            raise no_address(f"hf://{rest}")
        endpoint = environment.get(env.HF_ENDPOINT, "").strip().rstrip("/") or _ENDPOINT
        if not re.match(r"https?://[^/]", endpoint):
            # The value itself is not repeated: it may hold a password.
            what = "it is not an address that begins with http:// or https://."
            raise MultinodeError(ExitCode.VARIABLE, what, where=env.HF_ENDPOINT, hint="Correct or unset it.")
        return cls(match["repository"], match["revision"] or "main", endpoint, _token(environment))

    @property
    def name(self) -> str:
        """As it was asked for."""
        return f"hf://{self.repository}" + ("" if self.revision == "main" else f"@{self.revision}")

    def listing(self) -> Listing:
        """Ask for the commit and its files."""
        url = f"{self.endpoint}/api/models/{self.repository}/revision/{quote(self.revision, safe='')}"
        response = web.get(self._session, url, self._headers(), params={"blobs": "true"})
        self._check(response)
        found = web.object_in(web.content_of(response, _MOST_LISTING)) or {}
        try:
            self._commit = _matching(_COMMIT, found["sha"])
            items = tuple(_item(entry) for entry in found["siblings"])
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            what = f"{web.host_of(url)} does not respond like a hub: there is no list of files."
            hint = "Check HF_ENDPOINT."
            raise MultinodeError(ExitCode.SOURCE_UNREACHABLE, what, where=self.name, hint=hint) from error
        return Listing(self._commit, items)

    def read(self, item: Item, offset: int) -> tuple[int, Iterator[bytes]]:
        """Read a file of the commit."""
        return web.ranged(self._session, self._file(item), self._headers, item.size, offset, self._check)

    def beginning(self, item: Item, length: int) -> bytes:
        """The first bytes of a file of the commit, as many as it has up to `length`.

        Raises:
            MultinodeError: SOURCE_DENIED, MODEL_MISSING, SOURCE_UNREACHABLE.
            PassingError: the hub does not answer now.
        """
        return web.beginning(self._session, self._file(item), self._headers(), length, self._check)

    def digest(self, item: Item) -> Digest | None:
        """SHA-256 of what lies in LFS or Xet, git's blob id of what lies in git."""
        return item.digest

    def _file(self, item: Item) -> str:
        return f"{self.endpoint}/{self.repository}/resolve/{self._commit}/{quote(item.name)}"

    def _headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def _check(self, response: requests.Response) -> None:
        # The hub says in a header what a status alone does not tell.
        if response.status_code >= 400:
            response.close()
        reason = response.headers.get("X-Error-Code")
        if reason == "RevisionNotFound":
            what = f"there is no revision {self.revision}."
            raise MultinodeError(ExitCode.MODEL_MISSING, what, where=self.name, hint="Check its name.")
        if reason == "GatedRepo":
            what = f"the model is gated ({response.status_code})."
            whose = "the account of the token given" if self.token else "the account of HF_TOKEN's token"
            hint = f"Accept its licence at {self.endpoint}/{self.repository} with {whose}."
            raise MultinodeError(ExitCode.SOURCE_DENIED, what, where=self.name, hint=hint)
        if response.status_code in (401, 403) and self.token:
            what = f"{web.host_of(response.url)} rejects the token ({response.status_code})."
            hint = "Check HF_TOKEN, its access to this model, and the model's name."
            raise MultinodeError(ExitCode.SOURCE_DENIED, what, where=self.name, hint=hint)
        web.refuse(response, self.name, secret=_SECRET)


def _item(entry: Mapping[str, Any]) -> Item:
    lfs = entry.get("lfs")
    if lfs:
        digest = Digest("sha256", _matching(_SHA256, lfs["sha256"]))
    else:
        digest = Digest("git-sha1", _matching(_SHA1, entry["blobId"]))
    return Item(_matching(_ANY, entry["rfilename"]), int((lfs or entry)["size"]), digest, str(digest))


def _matching(pattern: re.Pattern[str], value: object) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(repr(value)[:80])
    return value


def _token(environment: Mapping[str, str]) -> str | None:
    """HF_TOKEN, else the file of HF_TOKEN_PATH, else the file that `hf auth login` writes, where it is there.

    https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
    """
    if token := environment.get(env.HF_TOKEN, "").strip():
        return _sendable(token, env.HF_TOKEN)
    given = environment.get(env.HF_TOKEN_PATH, "").strip()
    path = Path(given) if given else _login(environment)
    if path is None or not (given or path.is_file()):
        return None
    try:
        token = read_bounded(path, _MOST_TOKEN).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        what = f"the token's file cannot be read: {reason}."
        where, hint = f"{env.HF_TOKEN_PATH} ({path})", "Check that the Secret is mounted there."
        if not given:
            where, hint = str(path), "Set HF_TOKEN, or log in again with `hf auth login`."
        raise MultinodeError(ExitCode.VARIABLE, what, where=where, hint=hint) from error
    return _sendable(token, f"{env.HF_TOKEN_PATH} ({path})" if given else str(path)) if token else None


def _login(environment: Mapping[str, str]) -> Path | None:
    """Where `hf auth login` puts the token; None where there is no home."""
    if home := environment.get(env.HF_HOME, "").strip():
        return Path(home) / "token"
    cache, home = environment.get("XDG_CACHE_HOME", "").strip(), environment.get("HOME", "").strip()
    if not cache and not home:
        return None
    return (Path(cache) if cache else Path(home) / ".cache") / "huggingface" / "token"


def _sendable(token: str, where: str) -> str:
    if not _TOKEN.fullmatch(token):
        what = "this is not a token: it is empty, too long, or contains invalid characters."
        raise MultinodeError(ExitCode.VARIABLE, what, where=where, hint="Check the Secret that it is from.")
    return token
