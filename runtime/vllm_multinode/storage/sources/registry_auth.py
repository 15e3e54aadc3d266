"""Credentials for a registry, and what answers its challenge."""

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import requests
from requests.auth import AuthBase
from requests.utils import parse_dict_header

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.sources.web import host_of

_TIMEOUT: Final = (15, 30)


class Challenge(AuthBase):
    """Answers a registry's 401, as its WWW-Authenticate header asks: with a bearer token or a password.

    Args:
        registry: host and port; nobody else's 401 is answered, such as that of a store it redirects to.
        password: user:password, None for an anonymous token.
    """

    def __init__(self, registry: str, password: str | None) -> None:
        self._registry = registry
        self._password = password
        self._header = ""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Send what the last challenge was answered with."""
        if self._header:
            request.headers["Authorization"] = self._header
        request.register_hook("response", self._answer)  # type: ignore[no-untyped-call]
        return request

    def _answer(self, response: requests.Response, **options: Any) -> requests.Response:
        sent = response.request.headers.get("Authorization", "")
        if response.status_code != 401 or host_of(response.url) != self._registry:
            return response
        header = self._header_for(response.headers.get("WWW-Authenticate", ""))
        if not header or header == sent:
            return response
        self._header = header
        # The connection is free again once the body has been read.
        _ = response.content
        request = response.request.copy()
        request.headers["Authorization"] = header
        request.deregister_hook("response", self._answer)  # type: ignore[no-untyped-call]
        again: requests.Response = response.connection.send(request, **options)
        again.history.append(response)
        again.request = request
        return again

    def _header_for(self, challenge: str) -> str:
        kind, _, rest = challenge.partition(" ")
        basic = base64.b64encode(self._password.encode()).decode() if self._password else ""
        if kind.lower() == "basic":
            return f"Basic {basic}" if basic else ""
        asked = parse_dict_header(rest)  # type: ignore[no-untyped-call]
        if kind.lower() != "bearer" or not asked.get("realm"):
            return ""
        wanted = {name: asked[name] for name in ("service", "scope") if asked.get(name)}
        headers = {"Authorization": f"Basic {basic}"} if basic else {}
        answer = requests.get(asked["realm"], params=wanted, headers=headers, timeout=_TIMEOUT)
        try:
            found = answer.json() if answer.ok else {}
        except requests.JSONDecodeError:
            return ""
        token = found.get("token") or found.get("access_token") if isinstance(found, dict) else None
        return f"Bearer {token}" if token else ""


def credentials(environment: Mapping[str, str], repository: str) -> str | None:
    """user:password for a repository from a pull secret, the longest name that holds it first.

    Args:
        environment: REGISTRY_AUTH_FILE names the file; DOCKER_CONFIG its folder, in which it is config.json,
            or .dockerconfigjson as in a mounted Secret.
        repository: registry/repository.

    Raises:
        MultinodeError: VARIABLE, where the file cannot be read.
    """
    path = _auth_file(environment)
    if path is None:
        return None
    try:
        auths = json.loads(path.read_text(encoding="utf-8"))["auths"]
        entries = {_bare(name): dict(entry) for name, entry in auths.items()}
        for name in sorted(entries, key=len, reverse=True):
            if f"{repository}/".startswith(f"{name}/"):
                return _password(entries[name])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else 'there is no "auths" as in a pull secret'
        hint = "Mount a Secret of type kubernetes.io/dockerconfigjson there."
        raise MultinodeError(
            ExitCode.VARIABLE, f"the pull secret cannot be read: {reason}.", where=str(path), hint=hint
        ) from error
    return None


def _auth_file(environment: Mapping[str, str]) -> Path | None:
    if named := environment.get(env.REGISTRY_AUTH_FILE, "").strip():
        return Path(named)
    folder = environment.get(env.DOCKER_CONFIG, "").strip()
    found = (Path(folder, name) for name in ("config.json", ".dockerconfigjson"))
    return next((path for path in found if path.exists()), None) if folder else None


def _bare(name: str) -> str:
    """A registry's name without scheme and API version, as Docker Hub's stands in old files."""
    bare = name.removeprefix("https://").removeprefix("http://").rstrip("/")
    return bare.removesuffix("/v1").removesuffix("/v2")


def _password(entry: Mapping[str, str]) -> str | None:
    if entry.get("auth"):
        return base64.b64decode(entry["auth"], validate=True).decode()
    if entry.get("username"):
        return f"{entry['username']}:{entry.get('password', '')}"
    return None
