"""Credentials for a registry, and what answers its challenge."""

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from requests.utils import parse_dict_header

from vllm_multinode.contract import env
from vllm_multinode.contract.bounded import read_bounded
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.sources import web

_MOST_TOKEN: Final = 1 << 20
_MOST_SECRET: Final = 4 << 20
_TOKEN: Final = re.compile(r"[!-~]{1,65536}")
# Below these anybody may have a name of his own: what stands there is not the registry's owner's.
_SHARED: Final = frozenset({"azurecr.io", "pkg.dev", "amazonaws.com", "svc", "cluster.local"})
_SECOND_LEVEL: Final = frozenset({"ac", "co", "com", "edu", "gov", "net", "org"})


class Challenge(AuthBase):
    """Answers a registry's 401, as its WWW-Authenticate header asks: with a bearer token or a password.

    Args:
        registry: its address; nobody else's 401 is answered, such as that of a store it redirects to.
        password: user:password, None for an anonymous token. It goes to the registry and to its own token
            service, and never without TLS to another machine.
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
        if response.status_code != 401 or not _same_origin(response.url, self._registry):
            return response
        # Its body is not needed, and may be of any length.
        response.close()
        header = self._header_for(response.headers.get("WWW-Authenticate", ""))
        if not header or header == sent:
            return response
        self._header = header
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
        realm = str(asked["realm"])
        if not is_token_service(realm, self._registry):
            what = (
                f"it asks for the token at {web.host_of(realm)}, which is not a token service of the "
                "same domain."
            )
            hint = "Nothing was sent there. Check the registry's address, and that no proxy answers for it."
            raise MultinodeError(ExitCode.SOURCE_DENIED, what, where=web.host_of(self._registry), hint=hint)
        # A redirect would take the password, or the right to give a token, elsewhere.
        with requests.Session() as session:
            answer = web.get(session, realm, headers, params=wanted, allow_redirects=False)
            found = web.object_in(web.content_of(answer, _MOST_TOKEN))
        token = (found or {}).get("token") or (found or {}).get("access_token") or ""
        if token and not (isinstance(token, str) and _TOKEN.fullmatch(token)):
            what = f"{web.host_of(realm)} gives a token that cannot be sent: it holds odd characters."
            raise MultinodeError(ExitCode.SOURCE_DENIED, what, where=web.host_of(self._registry))
        return f"Bearer {token}" if token else ""


def is_token_service(realm: str, registry: str) -> bool:
    """Tell whether an address may be asked for a token with the registry's password.

    Either it is the registry itself, or it has TLS and stands beside the registry, above or below it in the
    same domain: auth.docker.io for registry-1.docker.io, gitlab.example.com for registry.example.com.

    Args:
        realm: of the challenge.
        registry: the registry's own address, with its scheme.
    """
    if _same_origin(realm, registry):
        return True
    try:
        service, own = urlsplit(realm), urlsplit(registry)
        port = service.port
    except ValueError:
        return False
    if service.scheme != "https" or port not in (None, 443) or not service.hostname or not own.hostname:
        return False
    if service.hostname == own.hostname or service.hostname.endswith(f".{own.hostname}"):
        return not _is_address(own.hostname)
    domain = own.hostname.partition(".")[2]
    if _is_address(own.hostname) or not _has_one_owner(domain):
        return False
    return service.hostname == domain or service.hostname.endswith(f".{domain}")


def _same_origin(one: str, other: str) -> bool:
    try:
        first, second = urlsplit(one), urlsplit(other)
        ports = first.port, second.port
    except ValueError:
        return False
    usual = {"http": 80, "https": 443}
    return (first.scheme, first.hostname, ports[0] or usual.get(first.scheme)) == (
        second.scheme,
        second.hostname,
        ports[1] or usual.get(second.scheme),
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _has_one_owner(domain: str) -> bool:
    """Tell whether whoever has a name in this domain can be taken to have the others as well."""
    labels = domain.split(".")
    if len(labels) < 2 or (len(labels) == 2 and labels[0] in _SECOND_LEVEL):
        return False
    return not any(domain == shared or domain.endswith(f".{shared}") for shared in _SHARED)


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
        auths = json.loads(read_bounded(path, _MOST_SECRET))["auths"]
        entries = {_bare(name): dict(entry) for name, entry in auths.items()}
        for name in sorted(entries, key=len, reverse=True):
            if f"{repository}/".startswith(f"{name}/"):
                return _password(entries[name])
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        binascii.Error,
    ) as error:
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
