"""Serves the page over services on this machine's loopback, to whoever has been told its address."""

import hmac
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.operate.bench.kept import last_of
from vllm_multinode.operate.doctor import diagnosis_of
from vllm_multinode.operate.observation import Observation
from vllm_multinode.operate.page.body import Page, View
from vllm_multinode.operate.page.document import POLICY, SCRIPT, STYLE, resource, served
from vllm_multinode.operate.samples import History
from vllm_multinode.operate.source import Source
from vllm_multinode.operate.status import status_of

log = logging.getLogger(__name__)

ADDRESS: Final = "127.0.0.1"
_HOSTS: Final = frozenset({"127.0.0.1", "localhost"})
_WANTED: Final = 30.0
"""Seconds for which a service is looked at by itself after somebody has opened its page."""
_REQUEST: Final = 10.0
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass
class Watcher:
    """Looks at services again and again, and remembers what it has seen.

    Args:
        place: where they run.
        name: of one; empty for all.
        labels: a selector.
        seconds: between two looks.
    """

    place: Source
    name: str = ""
    labels: str = ""
    seconds: float = 3.0
    _views: dict[str, View] = field(default_factory=dict)
    _failure: str = ""
    _wanted: tuple[str, float] = ("", 0.0)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Look once.

        Raises:
            MultinodeError: what cannot be seen.
        """
        found = self.place.observe(self.name, self.labels, deep=True)
        wanted, until = self._wanted
        if len(found) > 1 and wanted in {one.snapshot.name for one in found} and time.time() < until:
            # Of many services, not every head is asked; the one that somebody reads about is.
            (closer,) = self.place.observe(wanted, deep=True)[:1]
            found = [closer if _key(one) == _key(closer) else one for one in found]
        views = {_key(one): self._view(one) for one in found}
        with self._lock:
            self._views, self._failure = views, ""

    def page(self, chosen: str = "") -> Page:
        """What there is to show now."""
        with self._lock:
            if chosen:
                self._wanted = (chosen, time.time() + _WANTED)
            return Page(tuple(self._views.values()), time.time(), chosen, self._failure)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Go on looking until the block ends."""
        thread = threading.Thread(target=self._run, name="look", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(self.seconds + _REQUEST)

    def _run(self) -> None:
        while not self._ended.wait(self.seconds):
            try:
                self.look()
            except MultinodeError as error:
                with self._lock:
                    self._failure = str(error)

    def _view(self, seen: Observation) -> View:
        known = self._views.get(_key(seen))
        status = status_of(seen)
        history = (known.history if known is not None else History()).after(seen, status)
        return View(status, diagnosis_of(seen), history, seen.now, last_of(seen))


@contextmanager
def serving(watcher: Watcher, port: int = 0) -> Iterator[str]:
    """Serve the page while the block runs.

    Args:
        watcher: that has looked once.
        port: on the loopback; 0 for any that is free.

    Yields:
        The page's address. It holds a random word: another user of this machine does not know it.

    Raises:
        MultinodeError: PORT_TAKEN.
    """
    word = secrets.token_urlsafe(16)
    bound = type("Bound", (_Handler,), {"watcher": watcher, "word": word})
    try:
        server = ThreadingHTTPServer((ADDRESS, port), bound)
    except OSError as error:
        raise MultinodeError(
            ExitCode.PORT_TAKEN, f"cannot listen: {error.strerror}.", where=f"{ADDRESS}:{port}",
            hint="Omit --port, or give another one.",
        ) from error  # fmt: skip
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield f"http://{ADDRESS}:{server.server_port}/{word}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_REQUEST)


def _key(seen: Observation) -> str:
    return f"{seen.snapshot.kind}/{seen.snapshot.name}"


class _Handler(BaseHTTPRequestHandler):
    """One connection: three things to read, and nothing that changes anything."""

    watcher: Watcher
    word: str
    timeout = _REQUEST
    server_version = "multinode"
    sys_version = ""

    def do_GET(self) -> None:
        """The page, its style or its script."""
        # A name that its owner points to 127.0.0.1 makes a stranger's page our origin, but for its Host.
        if _host(self.headers.get("Host", "")) not in _HOSTS:
            return self._answer(HTTPStatus.FORBIDDEN, "Use the URL that was printed.\n")
        url = urlsplit(self.path)
        word, _, name = url.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(word.encode(), self.word.encode()):
            return self._answer(HTTPStatus.NOT_FOUND, "Use the URL that was printed.\n")
        if name == STYLE:
            return self._answer(HTTPStatus.OK, resource(STYLE), "text/css")
        if name == SCRIPT:
            return self._answer(HTTPStatus.OK, resource(SCRIPT), "text/javascript")
        if name:
            return self._answer(HTTPStatus.NOT_FOUND, "There is no such page.\n")
        chosen = parse_qs(url.query).get("service", [""])[0]
        return self._answer(
            HTTPStatus.OK, served(self.watcher.page(chosen), self.watcher.seconds), "text/html"
        )

    def log_message(self, *arguments: Any) -> None:
        """To the log, not to the terminal."""
        log.debug("%s", arguments)

    def _answer(self, status: HTTPStatus, text: str, kind: str = "text/plain") -> None:
        body = text.encode(errors="replace")
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _host(header: str) -> str:
    """The name in a Host header, without its port: a forwarded port is another one."""
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()
