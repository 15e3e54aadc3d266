"""Groups over local nodes: started for a test, ended after it, and their logs shown when it fails."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from engine.services import LocalGroup, open_group
from engine.stand_ins import StandIns
from vllm_multinode.local.tiny_model.make_model import make_model
from vllm_multinode.local.world.pod_spec import PodSpec
from vllm_multinode.local.world.protocol import Families

_LIVING = pytest.StashKey[list[LocalGroup]]()
_STEPS = pytest.StashKey[list[tuple[str, float]]]()

Start = Callable[..., LocalGroup]
Step = Callable[[str], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def made_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Llama of four layers and four heads."""
    return make_model(tmp_path_factory.mktemp("model") / "llama").directory


@contextmanager
def _starting(config: pytest.Config, factory: pytest.TempPathFactory) -> Iterator[Start]:
    living = config.stash.setdefault(_LIVING, [])
    with ExitStack() as ends:

        def start(
            pods: Sequence[PodSpec], later: Sequence[str] = (), *, families: Families = "ipv4"
        ) -> LocalGroup:
            group = open_group(factory.mktemp("r") / "runs", pods, later, families=families)
            living.append(group)
            ends.callback(living.remove, group)
            ends.enter_context(group.run)
            return group

        yield start


@pytest.fixture
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts pods that end with the test."""
    with _starting(request.config, tmp_path_factory) as found:
        yield found


@pytest.fixture(scope="class")
def start_for_class(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Starts pods that end with the class's last test."""
    with _starting(request.config, tmp_path_factory) as found:
        yield found


@pytest.fixture(scope="module")
def start_for_module(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Starts pods that end with the module's last test."""
    with _starting(request.config, tmp_path_factory) as found:
        yield found


@pytest.fixture
def stand_ins(tmp_path: Path) -> StandIns:
    """The stand-ins of this test's pods."""
    return StandIns(tmp_path)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """For what is waited for while something else happens."""
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.fixture(scope="session")
def step(request: pytest.FixtureRequest) -> Step:
    """Takes the time of a step; all of them are shown at the end."""
    steps = request.config.stash.setdefault(_STEPS, [])

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        steps.append((name, time.monotonic() - begun))

    return timed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what every node has said."""
    report = yield
    if report.failed and report.when == "call":
        for group in item.config.stash.get(_LIVING, []):
            report.sections += [(f"log of {pod}", text) for pod, text in group.logs().items()]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How long each step with the real engine took."""
    if steps := config.stash.get(_STEPS, []):
        terminalreporter.section("seconds of each step")
        for name, seconds in steps:
            terminalreporter.write_line(f"{seconds:7.1f}  {name}")
