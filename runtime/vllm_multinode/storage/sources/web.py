"""HTTP with ranges, for the sources that speak it: what a status means, and bytes from an offset on.

The libraries of the sources do this for files of their own making, and give up what came before a connection
broke: huggingface_hub (since 1.32) and oras keep no partial file. A shard is 5 GB and more.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.storage.sources.source import PassingError

CHUNK: Final = 1 << 20
_STEP: Final = 8 << 30
"""Bytes of one request: caches in front of the hub answer none for more than 50 GB."""
_CONNECT: Final = 15
_READ: Final = 30
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})

Headers = Callable[[], Mapping[str, str]]


def host_of(url: str) -> str:
    """The host and port of an address, which is all that a message shows of it."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def get(session: requests.Session, url: str, headers: Mapping[str, str], **options: Any) -> requests.Response:
    """One request; a status is left to the caller unless it passes.

    Raises:
        PassingError: no answer, or one that says to come again.
        MultinodeError: SOURCE_UNREACHABLE, where it redirects without end.
    """
    try:
        response = session.get(url, headers=dict(headers), timeout=(_CONNECT, _READ), **options)
    except requests.TooManyRedirects as error:
        what = f"{host_of(url)} redirects without end."
        raise MultinodeError(
            ExitCode.SOURCE_UNREACHABLE, what, hint="Check the address of the source."
        ) from error
    except requests.RequestException as error:
        raise PassingError(f"{host_of(url)} does not answer: {why(error)}") from error
    if response.status_code in _PASSING:
        response.close()
        wait = _seconds(response.headers.get("Retry-After", ""))
        raise PassingError(f"{host_of(url)} answers {response.status_code}", wait)
    return response


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
    host = host_of(response.url)
    if status in (401, 403):
        said = f"{host} refuses it ({status}): it is gated, private or not there."
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
    with contextlib.closing(get(session, url, asked, stream=True)) as response:
        check(response)
        for chunk in _chunks(response):
            found += chunk
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
        headers: made anew for each request, since a token may expire.
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
            for chunk in _chunks(response):
                at += len(chunk)
                yield chunk
            if at >= size or response.status_code != 206:
                return
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
    response = get(session, url, asked, stream=True)
    if response.status_code not in (200, 206):
        with contextlib.closing(response):
            check(response)
        raise PassingError(f"{host_of(url)} answers {response.status_code}")
    return response


def _chunks(response: requests.Response) -> Iterator[bytes]:
    with contextlib.closing(response):
        try:
            yield from response.iter_content(CHUNK)
        except requests.RequestException as error:
            raise PassingError(f"{host_of(response.url)} broke off: {why(error)}") from error


def why(error: BaseException) -> str:
    """The reason at the bottom of an error, without the address that a library puts into it."""
    seen = error
    for _ in range(10):
        inner = (
            seen.__cause__
            or seen.__context__
            or next((a for a in seen.args if isinstance(a, Exception)), None)
        )
        inner = getattr(seen, "reason", None) or inner
        if not isinstance(inner, BaseException):
            break
        seen = inner
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror
    return type(seen).__name__


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0
