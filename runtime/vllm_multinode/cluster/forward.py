"""HTTP to a pod through a port-forward, for what an API key protects.

The API server's proxy takes the header Authorization for itself and passes none on.
"""

import base64
import http.client
import io
import json
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.transport import Object
from vllm_multinode.contract import env, ports
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

T = TypeVar("T")

_PROTOCOL: Final = "v4.channel.k8s.io"
_DATA: Final = 0
"""The channel of a port's data; the next one is that of its errors."""
_PIECE: Final = 1 << 16
_LONGEST_ANSWER: Final = 16 << 20
_REFUSED: Final = (401, 403)
_HANDSHAKE: Final = re.compile(r"Handshake status (\d{3})")


def forward_command(namespace: str, target: str, port: int | str = ports.API) -> str:
    """What a person types to reach a service at port 8080 of this machine.

    Args:
        namespace: of the target.
        target: a Deployment, or a Service that has an address of its own: kubectl takes a headless one's
            port for the pod's own.
        port: of the target.
    """
    ways = str(port) if str(port) == str(ports.API) else f"{ports.API}:{port}"
    return f"kubectl port-forward -n {namespace} {target} {ways}"


def key_reference(pod: Object) -> tuple[str, str] | None:
    """Secret and key that a head's API key is read from; None where it has none, or from elsewhere."""
    return _reference(_key_entry(pod) or {})


def key_header(namespace: str, secret: str, key: str) -> str:
    """What a person adds to a curl line, which reads the API key from its Secret."""
    read = f"kubectl get secret {secret} -n {namespace} -o jsonpath={{.data.{key}}} | base64 -d"
    return f' -H "Authorization: Bearer $({read})"'


def api_key(cluster: Cluster, pod: Object) -> str | None:
    """The key that a head asks its clients for; None where it asks for none.

    Raises:
        MultinodeError: MISSING, or FORBIDDEN where the login may not read the Secret.
    """
    entry = _key_entry(pod)
    if entry is None:
        return None
    reference = _reference(entry)
    if reference is None:
        return str(entry.get("value") or "") or None
    return _from_secret(cluster, str(pod["metadata"]["namespace"]), *reference)


def _key_entry(pod: Object) -> Mapping[str, Any] | None:
    containers = pod["spec"].get("containers") or []
    entries = (entry for container in containers for entry in container.get("env") or [])
    return next((entry for entry in entries if entry.get("name") == env.API_KEY), None)


def _reference(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    reference = (entry.get("valueFrom") or {}).get("secretKeyRef")
    return (str(reference.get("name")), str(reference.get("key"))) if reference else None


def _from_secret(cluster: Cluster, namespace: str, name: str, key: str) -> str:
    found = cluster.get(cluster.resource("v1", "Secret"), name, namespace) or {}
    value = (found.get("data") or {}).get(key)
    if not value:
        raise MultinodeError(
            ExitCode.MISSING, f"has no key {key}, which clients present.", where=f"Secret {namespace}/{name}"
        )
    return base64.b64decode(value).decode(errors="replace").strip()


def ask(
    cluster: Cluster,
    pod: Object,
    port: int,
    path: str,
    *,
    key: str,
    body: Mapping[str, Any] | None = None,
    timeout: float = 60,
    tls: bool = False,
) -> tuple[int, bytes]:
    """One request to a pod's port with an API key; the pod's own status and body.

    Args:
        cluster: of the pod.
        pod: that is asked.
        port: of its own.
        path: without the first slash.
        key: that is presented.
        body: to be posted; None for a GET.
        timeout: seconds.
        tls: the port speaks TLS. As with the API server's proxy, whom its certificate is for is not asked.

    Raises:
        MultinodeError: FORBIDDEN or NOT_SERVING: the port-forward is not allowed, or nobody answers.
    """
    from kubernetes.client.rest import ApiException
    from kubernetes.stream.ws_client import create_websocket, get_websocket_url
    from websocket import WebSocketException

    name, namespace = str(pod["metadata"]["name"]), str(pod["metadata"]["namespace"])
    where = f"pod {namespace}/{name}, port {port}"
    configuration = cluster.configuration
    path_of_pod = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}"
    url = f"{configuration.host}{path_of_pod}/portforward?ports={port}"
    headers = {"sec-websocket-protocol": _PROTOCOL}
    if bearer := configuration.auth_settings().get("BearerToken"):
        headers["authorization"] = bearer["value"]
    try:
        opened = create_websocket(configuration, get_websocket_url(url, {}), headers)
    except (ApiException, WebSocketException, OSError) as error:
        told = str(getattr(error, "reason", None) or error).partition(" -+-+-")[0]
        if _code(told) in _REFUSED:
            what = "the login may not forward ports of pods (create and get pods/portforward)."
            raise MultinodeError(ExitCode.FORBIDDEN, what, where=where) from error
        raise MultinodeError(ExitCode.NOT_SERVING, f"no port-forward: {told}.", where=where) from error
    opened.settimeout(timeout)
    connection = http.client.HTTPConnection("localhost", port)
    try:
        channel = _Channel(opened)
        connection.sock = _Secured(channel) if tls else channel
        sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Connection": "close"}
        data = None if body is None else json.dumps(body).encode()
        connection.request("GET" if body is None else "POST", f"/{path}", body=data, headers=sent)
        answer = connection.getresponse()
        return answer.status, answer.read(_LONGEST_ANSWER)
    except (OSError, http.client.HTTPException, WebSocketException) as error:
        told = str(error) or type(error).__name__
        raise MultinodeError(ExitCode.NOT_SERVING, f"no answer: {told.strip()}.", where=where) from error
    finally:
        opened.close()


class _Channel:
    """What http.client takes for a socket: the data channel of a port-forward, and its errors as OSError."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened

    def sendall(self, data: bytes) -> None:
        """Send on the data channel."""
        self._opened.send_binary(bytes([_DATA]) + data)

    def makefile(self, *_: object) -> io.BufferedReader:
        """What comes back."""
        return io.BufferedReader(_Stream(self._opened))

    def close(self) -> None:
        """Whoever has opened it closes it."""


class _Stream(io.RawIOBase):
    def __init__(self, opened: Any) -> None:
        self._opened = opened
        self._left = b""
        self._begun: set[int] = set()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        from websocket import WebSocketConnectionClosedException

        while not self._left:
            try:
                frame = self._opened.recv()
            except WebSocketConnectionClosedException:
                return 0
            if not isinstance(frame, bytes) or not frame:
                return 0
            channel, data = frame[0], frame[1:]
            if channel not in self._begun:
                # The first frame of each channel is its port.
                self._begun.add(channel)
            elif channel == _DATA:
                self._left = data
            elif data:
                raise OSError(data.decode(errors="replace"))
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


class _Secured:
    """The same, and TLS within the channel."""

    def __init__(self, channel: _Channel) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._channel, self._answers = channel, channel.makefile()
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._goes)
        self.through(self._tls.do_handshake)

    def through(self, step: Callable[[], T]) -> T:
        """Take a step of TLS, and let through what it waits for and what it has to send."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                if data := self._answers.read1(_PIECE):
                    self._came.write(data)
                else:
                    self._came.write_eof()
            else:
                self._flush()
                return done

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        self.through(lambda: self._tls.write(data))

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        try:
            return self.through(lambda: self._tls.read(size))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def makefile(self, *_: object) -> io.BufferedReader:
        """What comes back."""
        return io.BufferedReader(_Plain(self))

    def close(self) -> None:
        """Whoever has opened the channel closes it."""

    def _flush(self) -> None:
        if data := self._goes.read():
            self._channel.sendall(data)


class _Plain(io.RawIOBase):
    """What comes back within TLS."""

    def __init__(self, secured: _Secured) -> None:
        self._secured = secured

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._secured.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _code(reason: str) -> int:
    """The status that a WebSocket was rejected with; the client tells it in words alone."""
    told = _HANDSHAKE.search(reason)
    return int(told[1]) if told else 0
