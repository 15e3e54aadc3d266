"""httpGet probes with their delays, periods and thresholds, as Pods name them."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

Get = Callable[[int, str, float], bool]
"""Port, path and timeout in seconds, to whether the answer was below 400."""


class Probe:
    """One probe of one container: what it says now, judged by its thresholds."""

    def __init__(self, spec: Mapping[str, Any], *, at_first: bool) -> None:
        """Begin.

        Args:
            spec: a Pod's startupProbe, readinessProbe or livenessProbe.
            at_first: what it says before it was asked often enough.
        """
        self._path = spec["httpGet"].get("path", "/")
        self._port = int(spec["httpGet"]["port"])
        self._timeout = float(spec.get("timeoutSeconds", 1))
        self._period = float(spec.get("periodSeconds", 10))
        self._thresholds = {True: spec.get("successThreshold", 1), False: spec.get("failureThreshold", 3)}
        self._next = time.monotonic() + spec.get("initialDelaySeconds", 0)
        self._last: bool | None = None
        self._same = 0
        self.says = at_first
        self.failed = False
        """Whether it has failed as often in a row as its threshold allows."""

    def ask(self, get: Get) -> None:
        """Ask where it is time to."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._period
        answer = get(self._port, self._path, self._timeout)
        self._same = self._same + 1 if answer is self._last else 1
        self._last = answer
        if self._same >= self._thresholds[answer]:
            self.says = answer
            self.failed = not answer


class Probes:
    """All probes of one start of a container."""

    def __init__(self, container: Mapping[str, Any]) -> None:
        """Begin with a container that has just been started."""
        self._startup = _probe(container, "startupProbe", at_first=False)
        self._readiness = _probe(container, "readinessProbe", at_first=False)
        self._liveness = _probe(container, "livenessProbe", at_first=True)

    @property
    def started(self) -> bool:
        """Whether the startup probe has passed."""
        return self._startup is None or self._startup.says

    @property
    def ready(self) -> bool:
        """Whether the container is ready."""
        return self.started and (self._readiness is None or self._readiness.says)

    @property
    def hopeless(self) -> bool:
        """Whether the container is to be restarted."""
        return any(probe is not None and probe.failed for probe in (self._startup, self._liveness))

    def ask(self, get: Get) -> None:
        """Ask each that it is time for; the others wait until the startup probe has passed."""
        asked = (self._readiness, self._liveness) if self.started else (self._startup,)
        for probe in asked:
            if probe is not None:
                probe.ask(get)


def _probe(container: Mapping[str, Any], kind: str, *, at_first: bool) -> Probe | None:
    return Probe(container[kind], at_first=at_first) if kind in container else None


def http_get(address: str, timeout: float) -> bool:
    """Whether a GET is answered, and with less than 400."""
    try:
        with urllib.request.urlopen(address, timeout=timeout):
            return True
    except OSError:
        return False
