"""Clients of a group that stream completions, whatever happens, and what became of their requests."""

import collections
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal
from urllib.parse import urlsplit

Outcome = Literal["answered", "told", "refused", "unreachable", "broken off", "hung"]
"""What became of a request.

answered: to the end; told: ended by an error that says why; refused: 503 before it began, with Retry-After;
unreachable: nobody took it; broken off: begun, and over without a word; hung: nothing came for `SILENCE`.
"""

SILENCE: Final = 60.0
"""Seconds without a byte after which a request counts as hung."""
_RETRY: Final = 0.2
_BODY: Final = {
    "model": "llm",
    "prompt": "Once upon a time",
    "stream": True,
    "temperature": 0,
    "ignore_eos": True,
}


class Clients:
    """Some that ask one completion after the other, until they are told to stop."""

    def __init__(self, api: str, count: int, tokens: int) -> None:
        self.outcomes: collections.Counter[Outcome] = collections.Counter()
        self.said: collections.Counter[str] = collections.Counter()
        self.streaming = 0
        self._address = urlsplit(api).netloc
        self._body = json.dumps({**_BODY, "max_tokens": tokens})
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._go_on, daemon=True) for _ in range(count)]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask nothing more, and wait for what was asked."""
        self._over.set()
        for thread in self._threads:
            thread.join(2 * SILENCE)

    def forget(self) -> None:
        """Count from now on."""
        with self._lock:
            self.outcomes.clear()
            self.said.clear()

    def _go_on(self) -> None:
        while not self._over.is_set():
            outcome, said = self._ask()
            with self._lock:
                self.outcomes[outcome] += 1
                if said:
                    self.said[said] += 1
            if outcome != "answered":
                self._over.wait(_RETRY)

    def _ask(self) -> tuple[Outcome, str]:
        connection = http.client.HTTPConnection(self._address, timeout=SILENCE)
        begun = False
        try:
            connection.request("POST", "/v1/completions", self._body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200:
                return self._not_taken(answer)
            begun = True
            self._count(1)
            return self._read(answer)
        except TimeoutError:
            return "hung", ""
        except (OSError, http.client.HTTPException):
            return ("broken off" if begun else "unreachable"), ""
        finally:
            if begun:
                self._count(-1)
            connection.close()

    def _count(self, more: int) -> None:
        with self._lock:
            self.streaming += more

    @staticmethod
    def _not_taken(answer: http.client.HTTPResponse) -> tuple[Outcome, str]:
        text = answer.read().decode(errors="replace")
        retry = answer.headers.get("Retry-After")
        if answer.status == 503 and retry is not None:
            return "refused", f"503, Retry-After {retry}: {_message(text)}"
        return "told", f"{answer.status}: {_message(text)}"

    @staticmethod
    def _read(answer: http.client.HTTPResponse) -> tuple[Outcome, str]:
        error = ""
        for raw in answer:
            data = raw.decode().removeprefix("data: ").strip()
            if data == "[DONE]":
                return ("told", error) if error else ("answered", "")
            if '"error"' in data:
                error = _message(data)
        return ("told", error) if error else ("broken off", "")


def _message(text: str) -> str:
    try:
        found = json.loads(text)
        return str(found["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return text.strip()[:200]


@contextmanager
def clients(api: str, count: int, tokens: int) -> Iterator[Clients]:
    """So many clients, streaming already; none where `count` is 0."""
    found = Clients(api, count, tokens)
    found.start()
    try:
        deadline = time.monotonic() + SILENCE
        while found.streaming < min(count, 1) and time.monotonic() < deadline:
            time.sleep(0.02)
        found.forget()
        yield found
    finally:
        found.stop()
