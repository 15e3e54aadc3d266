"""HTTP with ranges, for the sources that speak it: what a status means, and bytes from an offset on.

The libraries of the sources do this for files of their own making, and give up what came before a connection
broke: huggingface_hub (since 1.32) and oras keep no partial file. A shard is 5 GB and more.
"""

import contextlib
import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from vllm_multinode.contract.bounded import within
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.numbers import is_count
from vllm_multinode.storage.sources.bounded import LEAST, STALL, paced, whole
from vllm_multinode.storage.sources.source import PassingError

CHUNK: Final = LEAST
"""Bytes of one piece."""
_STEP: Final = 8 << 30
"""Bytes of one request: caches in front of the hub answer none for more than 50 GB."""
_CONNECT: Final = 15
_READ: Final = STALL
# Connecting to each address of a name, following redirects, asking again with a token.
_HEADERS: Final = 2 * (_CONNECT + _READ)
_FAILURES: Final = (requests.RequestException, HTTPError, OSError, ValueError)
"""What requests raises, and what comes through it from below: ValueError for invalid addresses."""
_SPAN: Final = re.compile(r"bytes (\d{1,20})-\d{1,20}/(\d{1,20}|\*)")
_HTML: Final = ("text/html", "application/xhtml+xml")
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


Headers = Callable[[], Mapping[str, str]]


def host_of(url: str) -> str:
    """The host and port of an address, which is all that a message shows of it."""
    try:
        host, port = urlsplit(url).hostname, urlsplit(url).port
    except ValueError:
        host, port = None, None
    if not host:
        return "an invalid address"
    return f"{host}:{port}" if port else host


def get(session: requests.Session, url: str, headers: Mapping[str, str], **options: Any) -> requests.Response:
    """One request; a status is left to the caller unless it passes.

    Raises:
        PassingError: no answer, or one that says to come again.
        MultinodeError: SOURCE_UNREACHABLE, where it redirects endlessly.
    """
    asking = partial(
        session.get, url, headers=dict(headers), timeout=(_CONNECT, _READ), stream=True, **options
    )
    try:
        response = within(_HEADERS, asking)
    except requests.TooManyRedirects as error:
        what = f"{host_of(url)} redirects endlessly."
        hint = "Check the address of the source."
        raise MultinodeError(ExitCode.SOURCE_UNREACHABLE, what, hint=hint) from error
    except _FAILURES as error:
        raise PassingError(f"{host_of(url)} does not answer: {why(error)}") from error
    if response.status_code in _PASSING:
        response.close()
        wait = _seconds(response.headers.get("Retry-After", ""))
        raise PassingError(f"{host_of(url)} answers {response.status_code}", wait)
    return response


def content_of(response: requests.Response, most: int) -> bytes | None:
    """The body of an answer; None where it is longer than `most` bytes.

    Raises:
        PassingError: it broke off, or did not come in time.
    """
    return whole(_paced(response), most)


def object_in(content: bytes | None) -> dict[str, Any] | None:
    """The JSON object in a body; None where there is none."""
    try:
        found = json.loads(content or b"")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def refuse(response: requests.Response, what: str, *, secret: str) -> None:
    """Raise what a status means that is no success.

    Args:
        response: of the source.
        what: that was asked for, as the user knows it.
        secret: the variable that a token would be given by.

    Raises:
        MultinodeError: SOURCE_DENIED, MODEL_MISSING or SOURCE_UNREACHABLE.
    """
    status = response.status_code
    if status < 400:
        return
    response.close()
    host = host_of(response.url)
    if status in (401, 403):
        said = f"{host} rejects it ({status}): it is gated, private or not there."
        raise MultinodeError(ExitCode.SOURCE_DENIED, said, where=what, hint=f"Give a token by {secret}.")
    if status in (404, 410):
        raise MultinodeError(
            ExitCode.MODEL_MISSING,
            f"{host} has no such thing ({status}).",
            where=what,
            hint="Check the name.",
        )
    raise MultinodeError(ExitCode.SOURCE_UNREACHABLE, f"{host} answers {status}.", where=what)


def beginning(
    session: requests.Session,
    url: str,
    headers: Mapping[str, str],
    length: int,
    check: Callable[[requests.Response], None],
) -> bytes:
    """The first bytes of a content, as many as it has up to `length`, whether or not the server knows ranges.

    Args:
        session: to ask with; a redirect to another host loses the Authorization header in it.
        url: of the content.
        headers: of the request.
        length: bytes to read.
        check: raises what a status means that is no success.

    Raises:
        PassingError: no connection, here or while the bytes are read.
    """
    asked = {**headers, "Range": f"bytes=0-{length - 1}", "Accept-Encoding": "identity"}
    found = bytearray()
    response = get(session, url, asked)
    check(response)
    with contextlib.closing(_paced(response)) as pieces:
        for piece in pieces:
            found += piece
            if len(found) >= length:
                break
    return bytes(found[:length])


def ranged(
    session: requests.Session, url: str, headers: Headers, size: int, offset: int, check: Callable[..., None]
) -> tuple[int, Iterator[bytes]]:
    """Read from an offset to the end: where the bytes really begin, and the bytes.

    Args:
        session: to ask with; a redirect to another host loses the Authorization header in it.
        url: of the content.
        headers: called for each request, since a token may expire.
        size: bytes of the whole content.
        offset: where to begin.
        check: raises what a status means that is neither 200 nor 206.

    Raises:
        PassingError: no connection, here or while the bytes are read.
    """
    first = _ask(session, url, headers, (offset, size), check)
    begin = offset if first.status_code == 206 else 0

    def content() -> Iterator[bytes]:
        response, at = first, begin
        while True:
            begun = at
            for chunk in _paced(response):
                at += len(chunk)
                yield chunk
            if at >= size or response.status_code != 206:
                return
            # Each request would count as progress.
            if at - begun < LEAST:
                raise PassingError(f"{host_of(url)} answers with a range of {at - begun} bytes")
            response = _ask(session, url, headers, (at, size), check)
            if response.status_code != 206:
                raise PassingError(f"{host_of(url)} gives no ranges any more")

    return begin, content()


def _ask(
    session: requests.Session,
    url: str,
    headers: Headers,
    span: tuple[int, int],
    check: Callable[..., None],
) -> requests.Response:
    offset, size = span
    last = min(offset + _STEP, size) - 1
    wanted = {"Range": f"bytes={offset}-{last}"} if offset or last < size - 1 else {}
    # A compressed answer would be of another length than the file.
    asked = {**headers(), **wanted, "Accept-Encoding": "identity"}
    response = get(session, url, asked)
    if response.status_code not in (200, 206):
        with contextlib.closing(response):
            check(response)
        raise PassingError(f"{host_of(url)} answers {response.status_code}")
    if not _is_the_file(response, offset, size):
        response.close()
        raise PassingError(f"{host_of(url)} answers with something else than the file")
    return response


def _is_the_file(response: requests.Response, offset: int, size: int) -> bool:
    """Tell whether an answer can be the file: a page of a proxy must not cost what has come before."""
    if response.status_code == 206:
        span = _SPAN.fullmatch(response.headers.get("Content-Range", ""))
        return span is not None and int(span[1]) == offset and span[2] in ("*", str(size))
    length = response.headers.get("Content-Length", "")
    if is_count(length) and "Content-Encoding" not in response.headers:
        return int(length) == size
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind not in _HTML


def _paced(response: requests.Response) -> Generator[bytes]:
    return paced(_chunks(response), host_of(response.url), partial(_cut, response))


def _cut(response: requests.Response) -> None:
    """Break the connection under an answer that another thread may be reading."""
    shutdown = getattr(response.raw, "shutdown", None)
    # What has ended has no connection any more, or one that another answer uses by now.
    if shutdown is not None and not response.raw.closed:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            shutdown()


def _chunks(response: requests.Response) -> Iterator[bytes]:
    with contextlib.closing(response):
        try:
            yield from response.iter_content(CHUNK)
        except _FAILURES as error:
            raise PassingError(f"{host_of(response.url)} broke off: {why(error)}") from error


def why(error: BaseException) -> str:
    """The reason at the bottom of an error, without the address that a library puts into it."""
    seen = error
    for _ in range(10):
        behind = None if seen.__suppress_context__ else seen.__context__
        inner = seen.__cause__ or behind or next((a for a in seen.args if isinstance(a, Exception)), None)
        inner = getattr(seen, "reason", None) or inner
        if not isinstance(inner, BaseException):
            break
        seen = inner
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror
    return type(seen).__name__


def _seconds(text: str) -> float:
    return float(text) if is_count(text) else 0.0
