"""The last benchmark of a service: kept by the service, shown on its page and in its report."""

import io
import json
import stat
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unit.operate.bench.test_result import result, rung
from unit.operate.groups import observation, says
from unit.operate.test_page import EVIL, Place, words
from vllm_multinode.operate.bench.kept import keep, last_of
from vllm_multinode.operate.bench.result import BenchResult
from vllm_multinode.operate.bench.samples import Sample
from vllm_multinode.operate.bench.verdict import Verdict
from vllm_multinode.operate.bundle import bundle
from vllm_multinode.operate.dashboard import Watcher
from vllm_multinode.operate.observation import Observation
from vllm_multinode.operate.page.document import served, standalone

QUEUE = Verdict(
    id="queue",
    concurrency=8,
    sentence="requests queue.",
    evidence=("6 running, 18 wait",),
    advice="Add replicas.",
)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "vllm-multinode" / "bench"


def seen(uid: str = "", name: str = "llm", place: Any = "cluster") -> Observation:
    found = observation(1, says())
    service = {"metadata": {"name": name, **({"uid": uid} if uid else {})}}
    return replace(found, place=place, snapshot=replace(found.snapshot, name=name, service=service))


def measured(**more: Any) -> BenchResult:
    return result(rung(1), rung(8, 2.0), verdicts=(QUEUE,), **more)


def test_it_is_found_again_by_its_service(state: Path) -> None:
    keep(measured(samples={"1": (Sample(at=1.0),)}), seen("one"))
    found = last_of(seen("one"))
    assert found == measured()
    (file,) = state.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(seen("two"), id="another-service-of-that-name"),
        pytest.param(seen("one", place="local"), id="a-local-run-of-that-name"),
    ],
)
def test_it_is_not_another_one_s(other: Observation) -> None:
    keep(measured(), seen("one"))
    assert last_of(other) is None


def test_the_last_one_counts() -> None:
    keep(measured(made="2026-01-01T00:00:00Z"), seen("one"))
    keep(measured(made="2026-01-02T00:00:00Z"), seen("one"))
    found = last_of(seen("one"))
    assert found is not None
    assert found.made == "2026-01-02T00:00:00Z"


@pytest.mark.parametrize("text", [pytest.param("{", id="no-json"), pytest.param("[]", id="another-file")])
def test_a_file_that_is_none_of_it_is_passed_over(state: Path, text: str) -> None:
    keep(measured(), seen("one"))
    (file,) = state.iterdir()
    file.write_text(text)
    assert last_of(seen("one")) is None


def test_a_user_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert last_of(seen("one")) is None
    with pytest.raises(OSError, match="home"):
        keep(measured(), seen("one"))


def test_a_name_does_not_lead_elsewhere(state: Path) -> None:
    keep(measured(), seen("../../../etc/passwd"))
    (file,) = state.iterdir()
    assert file.name == "---------etc-passwd.json"


def test_the_page_shows_it() -> None:
    place = Place()
    (service,) = place.observe()
    keep(measured(model=EVIL), service)
    watcher = Watcher(place)
    watcher.look()
    for html in (served(watcher.page(), 3), standalone(watcher.page())):
        text = words(html)
        for part in (
            "Under load",
            "2026-01-01T00:00:00Z",
            "queue : requests queue.",
            "6 running, 18 wait",
            "E2E p50",
        ):
            assert part in text
        assert html.count("<circle cx=") == 3 * 3 * 2 + 2
        assert html.count('class="bar"') == 3 * 24
        assert "<img" not in html


def test_the_report_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Place):
        def streams(self, *_: Any, **__: Any) -> Any:
            class Streams:
                def now(self, _: Observation) -> list[Any]:
                    return []

                earlier = now

            return Streams()

    place = Silent()
    (service,) = place.observe()
    keep(measured(), service)
    with tarfile.open(fileobj=io.BytesIO(bundle(place, [service], "0"))) as archive:
        kept = archive.extractfile("multinode-report/llm/bench.json")
        page = archive.extractfile("multinode-report/page.html")
        assert kept is not None
        assert page is not None
        assert json.load(kept)["verdicts"][0]["id"] == "queue"
        assert "Under load" in page.read().decode()
