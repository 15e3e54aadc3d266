"""The page over services: what it says, that nothing of it is markup of somebody else's, and who may ask."""

import http.client
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from unit.cluster.stub_api import StubApi
from unit.operate.cases import BUSY, SERVES, Case, both
from unit.operate.cases import serving as serving_service
from unit.operate.groups import BEGAN, HEAD, PODS, observation, says
from unit.operate.test_doctor import put
from vllm_multinode.cli.app import run
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.operate.dashboard import Watcher, serving
from vllm_multinode.operate.latency import quantile
from vllm_multinode.operate.observation import Observation
from vllm_multinode.operate.page.body import Page
from vllm_multinode.operate.page.document import standalone
from vllm_multinode.operate.page.picture import groups, link_of, place_of
from vllm_multinode.operate.samples import History
from vllm_multinode.operate.status import status_of


class Place:
    """Where the service is of which a test says what is seen."""

    def __init__(self) -> None:
        self.turn = 0
        self.said = says()
        self.failure: MultinodeError | None = None
        self.names: Sequence[str] = ("llm",)
        self.looks: list[str] = []
        self.more: dict[str, Any] = {}

    def observe(
        self, name: str = "", labels: str = "", *, deep: bool = False, counters: Sequence[str] = ()
    ) -> list[Observation]:
        """The next look."""
        if self.failure is not None:
            raise self.failure
        self.turn += 1
        self.looks.append(name)
        found = observation(self.turn, self.said, **self.more)
        asked = [one for one in self.names if not name or one == name]
        return [replace(found, snapshot=replace(found.snapshot, name=one)) for one in asked]

    def streams(self, *_: Any, **__: Any) -> Any:
        """Nobody asks."""

    def way_in(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def ask(self, *_: Any, **__: Any) -> Any:
        """Nobody asks."""

    def platform(self) -> dict[str, str]:
        """Nobody asks."""
        return {}


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def watcher(place: Place) -> Watcher:
    found = Watcher(place, seconds=0.5)
    for _ in range(5):
        found.look()
    return found


def words(html: str) -> str:
    """What somebody reads."""
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            found.append(data)

    Reader().feed(re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))
    return " ".join(" ".join(found).split())


def page_of(watcher: Watcher) -> str:
    return standalone(replace(watcher.page(), in_full=True))


def test_it_says_state_reason_and_group(watcher: Watcher, place: Place) -> None:
    text = words(page_of(watcher))
    assert "serving" in text
    assert "models/llm: nothing wrong" in text
    for part in (
        "worker, rank 2, stage 2",
        "gpu-node-3",
        "heard 0.4 s ago",
        "TP 8, PP 4",
        "Recoveries: 1",
        "94.20 Gbit/s",
        "no answer within 5 s",
    ):
        assert part in text
    assert "lost llm-predictor-worker-7d9f6b5c4-8rstv" in text
    place.said = says("recovering", "lost a worker", silent=(0.3, 6.0, -1))
    watcher.look()
    text = words(page_of(watcher))
    for part in ("recovering", "silent for 6.0 s", "not joined", "worker, no rank", "(nodes-missing)"):
        assert part.strip("()") in text


def test_throughput_and_latency_are_of_the_time_between_two_looks(place: Place) -> None:
    (first,), (second,) = place.observe(), place.observe()
    history = History().after(first, status_of(first)).after(second, status_of(second))
    before, after = history.samples
    assert before.generation_tokens is None
    assert after.finished is not None
    assert after.generation_tokens == pytest.approx(after.finished * 60)
    assert after.first_token is not None
    assert before.first_token is not None
    assert after.first_token.count < before.first_token.count
    assert 0.2 < after.first_token.p50 < after.first_token.p95 <= after.first_token.p99 <= 1.0


@pytest.mark.parametrize(
    ("part", "seconds"),
    [
        pytest.param(0.5, 0.1, id="at-a-bound"),
        pytest.param(0.25, 0.05, id="inside-the-first"),
        pytest.param(0.75, 0.6, id="inside-another"),
        pytest.param(0.99, 1.0, id="beyond-the-last"),
    ],
)
def test_quantiles_as_prometheus_has_them(part: float, seconds: float) -> None:
    buckets = {0.1: 50.0, 1.0: 95.0, float("inf"): 100.0}
    assert quantile(buckets, part) == pytest.approx(seconds)


def test_states_stay_over_a_head_s_restart(place: Place) -> None:
    (seen,) = place.observe()
    history = History().after(seen, status_of(seen))
    known = [one.state for one in history.changes]
    place.said = {**says("forming", "1 of 4"), "history": [], "incidents": [], "since": BEGAN + 700}
    (seen,) = place.observe()
    later = history.after(seen, status_of(seen))
    assert [one.state for one in later.changes] == [*known, "forming"]
    assert len(later.incidents) == 1
    # The page that is being drawn from the earlier look must not change under it.
    assert [one.state for one in history.changes] == known


def test_groups_of_several_heads(place: Place) -> None:
    (seen,) = place.observe()
    (ranks,) = groups(status_of(seen))
    assert [one.pod for one in ranks] == list(PODS)
    assert place_of(ranks[3]) == "rank 3, stage 3"
    assert link_of(ranks[1]) == ("good", "heard 0.3 s ago")
    two = says() | {"tensor_parallel": 4, "pipeline_parallel": 16}
    place.said = two
    (seen,) = place.observe()
    (ranks,) = groups(status_of(seen))
    assert place_of(ranks[1]) == "rank 1, stages 4-7"


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>&quot;"


def test_whatever_is_said_is_text(place: Place, watcher: Watcher) -> None:
    said = says("recovering", f"{EVIL} \x1b[2J", silent=(0.1, 0.1, 0.1))
    said["members"][1]["accelerator"] = EVIL
    said["incidents"] = [{"at": BEGAN + 1, "cause": EVIL, "reason": EVIL}]
    place.said, place.names = said, (EVIL,)
    watcher.look()
    for html in (page_of(watcher), standalone(replace(watcher.page(EVIL), in_full=True))):
        tags: list[tuple[str, dict[str, str | None]]] = []

        class Reader(HTMLParser):
            def handle_starttag(
                self, tag: str, attrs: list[tuple[str, str | None]], found: Any = tags
            ) -> None:
                found.append((tag, dict(attrs)))

        Reader().feed(html)
        assert not [tag for tag, _ in tags if tag in ("script", "img")]
        assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
        assert "\x1b" not in html
        assert EVIL in words(html).replace("&quot;", '"').replace('"', "&quot;")


def test_no_secret_is_shown(place: Place, watcher: Watcher) -> None:
    place.said = says("recovering", "vllm exited: --api-key canary-123 with hf_abcdefghijklmnopqrst")
    place.more = {"entrance": ("curl -H 'Authorization: Bearer canary-456-789'",)}
    watcher.look()
    html = page_of(watcher)
    assert "vllm exited" in html
    assert "canary" not in html
    assert "hf_abc" not in html


def test_a_file_of_it_loads_nothing(watcher: Watcher) -> None:
    html = page_of(watcher)
    assert "default-src 'none'" in html
    assert "<script" not in html
    assert not re.findall(r'(?:src|href)="(?!#)', html)
    assert "url(" not in html
    assert "@import" not in html


def get(address: str, path: str = "", host: str = "", method: str = "GET") -> tuple[int, str, dict[str, str]]:
    url = urlsplit(address)
    connection = http.client.HTTPConnection(str(url.hostname), int(url.port or 0), timeout=30)
    try:
        connection.request(method, path or url.path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


def test_what_is_served(watcher: Watcher) -> None:
    with serving(watcher) as address:
        assert address.startswith("http://127.0.0.1:")
        status, text, headers = get(address)
        assert status == 200
        assert "nothing wrong" in text
        assert "script-src 'self'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        path = urlsplit(address).path
        assert get(address, f"{path}style.css")[2]["Content-Type"].startswith("text/css")
        assert get(address, f"{path}script.js")[2]["Content-Type"].startswith("text/javascript")
    with pytest.raises(ConnectionRefusedError):
        get(address)


@pytest.mark.parametrize(
    ("path", "host", "method", "code"),
    [
        pytest.param("/", "", "GET", 404, id="without-the-word"),
        pytest.param("/guessed/", "", "GET", 404, id="another-word"),
        pytest.param("{path}style.css/../../etc/passwd", "", "GET", 404, id="another-file"),
        pytest.param("{path}", "evil.example.com", "GET", 403, id="rebound-name"),
        pytest.param("{path}", "evil.example.com:{port}", "GET", 403, id="rebound-name-and-port"),
        pytest.param("{path}", "127.0.0.1.evil.example.com", "GET", 403, id="alike-name"),
        pytest.param("{path}", "localhost:9000", "GET", 200, id="forwarded-port"),
        pytest.param("{path}", "", "POST", 501, id="nothing-is-written"),
        pytest.param("{path}?service=%00%ff", "", "GET", 200, id="odd-service"),
    ],
)
def test_who_may_ask(watcher: Watcher, path: str, host: str, method: str, code: int) -> None:
    with serving(watcher) as address:
        url = urlsplit(address)
        found, text, _ = get(
            address, path.format(path=url.path), host.format(port=url.port) if host else "", method
        )
        assert found == code
        assert ("nothing wrong" in text) == (code == 200 and "?" not in path)


def test_a_port_that_is_taken(watcher: Watcher) -> None:
    with (
        serving(watcher) as address,
        pytest.raises(MultinodeError) as refused,
        serving(watcher, int(urlsplit(address).port or 0)),
    ):
        pytest.fail("it was served twice")
    assert refused.value.code == ExitCode.PORT_TAKEN


def test_a_look_that_fails_leaves_what_was_seen(watcher: Watcher, place: Place) -> None:
    place.failure = MultinodeError(ExitCode.CLUSTER_UNREACHABLE, "the API server does not answer.")
    with watcher.running():
        for _ in range(600):
            if (page := watcher.page()).failure:
                break
            time.sleep(0.1)
    assert "does not answer" in page.failure
    text = words(standalone(page))
    assert "The last refresh failed" in text
    assert HEAD[:12] in text


def test_many_services_are_a_table_and_the_chosen_one_is_asked_by_itself(
    watcher: Watcher, place: Place
) -> None:
    place.names = [f"llm-{number:02}" for number in range(20)]
    watcher.look()
    text = words(standalone(watcher.page()))
    assert "20 services" in text
    assert "rank 1" not in text
    page = watcher.page("llm-07")
    assert "rank 1" in words(standalone(page))
    place.looks.clear()
    watcher.look()
    assert place.looks == ["", "llm-07"]
    place.names = place.names[8:]
    watcher.look()
    assert "Service llm-07 no longer exists" in words(standalone(watcher.page("llm-07")))
    assert isinstance(page, Page)


def test_command_line(api: StubApi, kubeconfig: object) -> None:
    """From the command to the page, and Ctrl-C."""
    put(api, Case("", [serving_service(), *both()], SERVES, BUSY))
    command = [str(Path(sys.executable).with_name("multinode")), "dashboard", "llm", "--interval", "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        address = running.stdout.readline().split()[0]
        assert "demo/llm: nothing wrong" in get(address)[1]
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == ExitCode.OK


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param(["nobody"], ExitCode.NOT_SERVING, id="unknown-service"),
        pytest.param(["--port", "99999"], ExitCode.USAGE, id="no-port"),
        pytest.param(["--local", "-n", "x"], ExitCode.USAGE, id="local-namespace"),
    ],
)
def test_wrong_input(api: StubApi, kubeconfig: object, arguments: list[str], code: ExitCode) -> None:
    put(api, Case("", [serving_service(), *both()], SERVES, BUSY))
    assert run(["dashboard", *arguments]) == code


def test_a_page_is_drawn_while_the_next_look_is_taken(place: Place) -> None:
    watcher = Watcher(place)
    watcher.look()
    ended = threading.Event()

    def look() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            place.said = says("recovering" if number % 2 else "serving", f"look {number}")
            watcher.look()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        for _ in range(30):
            assert "llm" in words(page_of(watcher))
    finally:
        ended.set()
        thread.join(60)
    assert not thread.is_alive()
