"""A real control plane for the whole test run, and a namespace of its own for each test."""

import secrets
from collections.abc import Generator, Iterator

import pytest

from controlplane.plane import builds
from controlplane.plane.kubectl import Kubectl
from controlplane.plane.running import Plane, running

_PLANE = pytest.StashKey[Plane]()
_LOG_CHARACTERS = 6000


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Once for each KServe that was asked for."""
    if "plane" in metafunc.fixturenames:
        both = metafunc.definition.get_closest_marker("oldest_kserve") is not None
        metafunc.parametrize("plane", _versions(metafunc.config, both), indirect=True, scope="session")


def _versions(config: pytest.Config, both: bool) -> tuple[str, ...]:
    if config.getoption("--all-versions"):
        return builds.kserve_versions()
    if both and not config.getoption("--kserve"):
        return (builds.DEFAULT_KSERVE, builds.OLDEST_KSERVE)
    asked = config.getoption("--kserve") or builds.DEFAULT_KSERVE
    version = f"v{asked.removeprefix('v')}"
    if version not in builds.kserve_versions():
        raise pytest.UsageError(f"--kserve: there are {', '.join(builds.kserve_versions())}, not {version}")
    return (version,)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever uses the control plane has its marker, so that nobody can forget it."""
    for item in items:
        if isinstance(item, pytest.Function) and "plane" in item.fixturenames:
            item.add_marker(pytest.mark.controlplane)


@pytest.fixture(scope="session")
def plane(request: pytest.FixtureRequest) -> Iterator[Plane]:
    """The control plane; the tests of this run share it."""
    try:
        builds.go_version()
    except builds.GoMissingError as error:
        pytest.skip(str(error))
    with running(request.param) as found:
        request.config.stash[_PLANE] = found
        yield found


@pytest.fixture
def namespace(plane: Plane) -> Iterator[str]:
    """An empty namespace that goes, with all that is in it, after the test."""
    name = f"test-{secrets.token_hex(4)}"
    kubectl = plane.kubectl()
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def kubectl(plane: Plane, namespace: str) -> Kubectl:
    """Acts in the test's namespace, as a user who may do everything."""
    return plane.kubectl(namespace)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what the control plane's programs have said about the test's namespace."""
    report = yield
    plane = item.config.stash.get(_PLANE, None)
    namespace = str(item.funcargs.get("namespace", "")) if isinstance(item, pytest.Function) else ""
    if report.failed and report.when == "call" and plane is not None and namespace:
        for program, text in plane.logs().items():
            said = "\n".join(line for line in text.splitlines() if namespace in line)
            report.sections.append((f"log of {program}", said[-_LOG_CHARACTERS:]))
    return report
