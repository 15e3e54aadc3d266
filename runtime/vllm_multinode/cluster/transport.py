"""Requests to the Kubernetes API: bounded, retried where that is safe, every failure a MultinodeError."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlencode

from vllm_multinode.cluster import failures
from vllm_multinode.cluster.failures import Answer, Asked
from vllm_multinode.cluster.login import Login
from vllm_multinode.cluster.shapes import fault_of
from vllm_multinode.contract.bounded import within
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from kubernetes.client import Configuration
    from urllib3 import BaseHTTPResponse, Retry

Object = dict[str, Any]
"""An object of the Kubernetes API."""
Change = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]

AGENT: Final = "vllm-multinode"
CONNECT_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 60.0
"""Seconds; one request may wait for several webhooks of up to 10 s each."""
_WHOLE: Final = 3
"""Times its timeouts that a request may take in all, attempts among them."""
_LONGEST_RETRY_AFTER: Final = 5.0
_MOST_ANSWER: Final = 64 << 20
"""Bytes of an answer; a page of 500 pods has a few MiB."""
_MOST_CHANGE: Final = 16 << 20
"""Bytes of one change in a watch; etcd stores no object of more than 1.5 MiB."""
_PIECE: Final = 1 << 16
_IDEMPOTENT: Final = frozenset({"GET", "PATCH", "DELETE"})
"""A server-side apply says how an object shall be: sent twice, it is the same."""


NOT_THE_API: Final = "Check the server of the kubeconfig, and that no proxy answers in its place."


class ExpiredError(Exception):
    """A watch's resourceVersion is too old; list again."""


class Transport:
    """Sends requests as one login; connections are kept and shared between threads."""

    def __init__(self, login: Login, configuration: "Configuration") -> None:
        from kubernetes.client.rest import RESTClientObject

        configuration.retries = _retry()
        self._login = login
        self._configuration = configuration
        self._pool = RESTClientObject(configuration).pool_manager

    def close(self) -> None:
        """Close every connection."""
        self._pool.clear()

    def json(
        self,
        asked: Asked,
        method: str,
        path: str,
        *,
        absent: Object | Literal["refuse"] | None = "refuse",
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Object | None:
        """The object that is answered; `absent` where there is none, unless that is to be rejected.

        Raises:
            MultinodeError: what the API rejects, or that it cannot be reached.
        """
        response = self.send(
            asked, method, path, tolerate=True, query=query, body=body, content_type=content_type
        )
        data = response.data
        if response.status == 404 and absent != "refuse":
            answer = Answer.read(404, data)
            # An object in a namespace that is not there is rejected; a namespace that is not there is absent.
            if answer.details.get("kind") != "namespaces" or asked.kind == "Namespace":
                return absent
        if not 200 <= response.status < 300:
            raise failures.refused(Answer.read(response.status, data), asked, self._login)
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise failures.refused(Answer.read(response.status, data), asked, self._login)
        return found

    def send(
        self,
        asked: Asked,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        timeout: float = READ_TIMEOUT,
        stream: bool = False,
        retry: bool = True,
        tolerate: bool = False,
    ) -> "BaseHTTPResponse":
        """One request.

        Args:
            asked: the same in words.
            method: of HTTP.
            path: below the server's URL.
            query: empty values are left out.
            body: sent as JSON, which is YAML too.
            content_type: of the body.
            timeout: seconds without a byte of the answer.
            stream: leave the answer's body to be read.
            retry: where it is safe.
            tolerate: return refusals instead of raising them.

        Raises:
            ExpiredError: 410, unless tolerated.
            MultinodeError: what the API rejects, unless tolerated; or that it cannot be reached.
        """
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json", "User-Agent": AGENT}
        try:
            # Asked each time: a token is refreshed before it expires.
            if bearer := self._configuration.auth_settings().get("BearerToken"):
                headers[bearer["key"]] = bearer["value"]
            sent = urlencode({key: value for key, value in (query or {}).items() if value})
            asking = partial(
                self._pool.request,
                method,
                f"{self._configuration.host}{path}" + (f"?{sent}" if sent else ""),
                body=None if body is None else json.dumps(body).encode(),
                headers=headers if body is None else {**headers, "Content-Type": content_type},
                timeout=Timeout(connect=CONNECT_TIMEOUT, read=timeout),
                preload_content=False,
                redirect=False,
                **({} if retry else {"retries": False}),
            )
            # A timeout of urllib3 begins again with every byte that comes.
            response: BaseHTTPResponse = within(
                _WHOLE * (CONNECT_TIMEOUT + timeout), asking if stream else partial(self._whole, asking)
            )
        except TimeoutError as error:
            what = f"the API did not finish its response within {_WHOLE * (CONNECT_TIMEOUT + timeout):.0f} s."
            raise MultinodeError(ExitCode.CLUSTER_UNREACHABLE, what, where=self._login.place) from error
        except HTTPError as error:
            raise failures.unreachable(error, self._login) from error
        except OSError as error:
            what = f"a file of the login cannot be used: {self._login.redact(str(error))}."
            raise MultinodeError(ExitCode.CLUSTER_UNREACHABLE, what, where=self._login.place) from error
        except ValueError as error:
            # Named by neither text nor cause: http.client quotes the header.
            raise MultinodeError(
                ExitCode.UNAUTHORIZED,
                "the login's token contains characters that HTTP does not allow.",
                where=self._login.place,
                hint=self._login.renewal,
            ) from error
        if not tolerate and not 200 <= response.status < 300:
            answer = Answer.read(response.status, response.read())
            if answer.code == 410:
                raise ExpiredError(answer.message)
            raise failures.refused(answer, asked, self._login)
        return response

    def _whole(self, asking: "Callable[[], BaseHTTPResponse]") -> "BaseHTTPResponse":
        """An answer with its body, which has a bound: what answers need not be an API server."""
        from urllib3 import HTTPResponse

        with closing(asking()) as response:
            content = bytearray()
            for piece in response.stream(_PIECE):
                content += piece
                if len(content) > _MOST_ANSWER:
                    what = f"what answers there says more than {_MOST_ANSWER >> 20} MiB, which no API does."
                    raise MultinodeError(
                        ExitCode.CLUSTER_UNREACHABLE, what, where=self._login.place, hint=NOT_THE_API
                    )
        return HTTPResponse(
            io.BytesIO(content),
            headers=response.headers,
            status=response.status,
            reason=response.reason,
            decode_content=False,
        )

    def watch(self, asked: Asked, path: str, query: Mapping[str, str], seconds: float) -> "Watching":
        """Open a watch that the API server ends after `seconds`."""
        response = self.send(asked, "GET", path, query=query, stream=True, timeout=seconds + CONNECT_TIMEOUT)
        return Watching(response, asked, self._login)


class Watching:
    """An open watch: iterate over its changes; `stop` ends it from any thread."""

    def __init__(self, response: "BaseHTTPResponse", asked: Asked, login: Login) -> None:
        self._response = response
        self._asked = asked
        self._login = login

    def __iter__(self) -> Iterator[tuple[Change, Object]]:
        """Until the API server ends it, which it does after the seconds asked for.

        Raises:
            ExpiredError: list again.
            MultinodeError: the connection was lost, or the API refuses to go on.
        """
        from urllib3.exceptions import HTTPError

        try:
            for line in _lines(self._response):
                found = json.loads(line)
                if found["type"] == "ERROR":
                    answer = Answer.read(
                        int(found["object"].get("code") or 500), json.dumps(found["object"]).encode()
                    )
                    if answer.code == 410:
                        raise ExpiredError(answer.message)
                    raise failures.refused(answer, self._asked, self._login)
                yield found["type"], _known(found["object"])
        except HTTPError as error:
            raise failures.unreachable(error, self._login) from error
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            # No change of an object, half a line, or a connection that was closed under the reader.
            raise MultinodeError(ExitCode.CLUSTER_UNREACHABLE, "the watch broke off.") from error
        finally:
            self._response.close()

    def stop(self) -> None:
        """Let the iteration end."""
        try:
            self._response.shutdown()
        except (AttributeError, ValueError, OSError):
            # Already closed, or a urllib3 that cannot: the iteration ends with its seconds.
            return


def _known(found: Object) -> Object:
    """The object of a change.

    Raises:
        ValueError: it is none of Kubernetes.
    """
    if fault := fault_of(found):
        raise ValueError(fault)
    return found


def _lines(response: "BaseHTTPResponse") -> Iterator[bytes]:
    """The lines of an answer without an end.

    Raises:
        ValueError: one has no end either.
    """
    left = bytearray()
    for piece in response.stream(_PIECE):
        *lines, rest = piece.split(b"\n")
        for line in lines:
            yield bytes(left) + line
            left.clear()
        left += rest
        if len(left) > _MOST_CHANGE:
            raise ValueError(len(left))
    if left:
        yield bytes(left)


def _retry() -> "Retry":
    """For what may be asked again: a lost connection, and an API server that asks for patience."""
    from urllib3 import Retry

    class Bounded(Retry):
        def get_retry_after(self, response: "BaseHTTPResponse") -> float | None:
            seconds = super().get_retry_after(response)
            return None if seconds is None else min(seconds, _LONGEST_RETRY_AFTER)

    return Bounded(
        total=4,
        connect=2,
        read=2,
        status=3,
        other=0,
        backoff_factor=0.3,
        status_forcelist=(429, 503, 504),
        allowed_methods=_IDEMPOTENT,
        raise_on_status=False,
    )
