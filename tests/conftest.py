"""Options of the whole test run."""

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
