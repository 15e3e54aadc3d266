"""Options of the whole test run."""

import signal
import socketserver
import sys
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which KServe the tests of the real control plane run against."""
    group = parser.getgroup("control plane")
    group.addoption(
        "--all-versions",
        action="store_true",
        help="every KServe and every vLLM that is tried",
    )
    group.addoption("--kserve", metavar="VERSION", help="one of them, such as v0.19.0")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test whose marker's own run would not find it: `scripts/test` names these folders."""
    for item in items:
        for marker in ("controlplane", "truth"):
            if item.get_closest_marker(marker) and marker not in item.path.parts:
                raise pytest.UsageError(f"{item.nodeid}: tests marked {marker} belong below tests/{marker}")


def pytest_configure() -> None:
    """Take SIGINT as on a terminal: a shell that starts a run in the background lets it ignore the signal.

    Every program that a test starts would inherit that, and not end where it is told to.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    socketserver.BaseServer.handle_error = _handle_error  # type: ignore[assignment, method-assign]


_report_error = socketserver.BaseServer.handle_error


def _handle_error(server: socketserver.BaseServer, request: Any, client_address: Any) -> None:
    """Pass over clients of a test's server that have gone.

    The thread may come to it after its test, when the standard error that it would write to is closed: the
    warning then fails a test that has nothing to do with it.
    """
    if not isinstance(sys.exc_info()[1], ConnectionError):
        _report_error(server, request, client_address)
