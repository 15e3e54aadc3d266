"""Distributions, tables, comparisons and drawings of a benchmark, from what vLLM writes."""

import json
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.operate.bench.charts import charts
from vllm_multinode.operate.bench.files import RESULT, new_folder, write
from vllm_multinode.operate.bench.result import (
    BenchResult,
    Load,
    Rung,
    latency_of,
    percentile,
    read_result,
    rung_of,
)
from vllm_multinode.operate.bench.tables import as_text, changes, compared
from vllm_multinode.operate.bench.verdict import Verdict

RAW: dict[str, Any] = {
    "duration": 2.0,
    "completed": 2,
    "failed": 1,
    "output_throughput": 4.0,
    "request_throughput": 1.0,
    "ttfts": [0.1, 0.3, 0.0],
    "itls": [[0.01, 0.03], [0.02, 0.02], []],
    "errors": ["", "", "Traceback\nConnectionError: refused"],
}


def rung(concurrency: int, factor: float = 1.0) -> Rung:
    values = [factor * value for value in range(1, 101)]
    return Rung(
        concurrency=concurrency,
        requests=100,
        seconds=10,
        tokens_per_s=100 * concurrency / factor,
        requests_per_s=10,
        ttft_ms=latency_of(values),
        itl_ms=latency_of(values),
        e2e_ms=latency_of(values),
    )


def result(*rungs: Rung, **changes: Any) -> BenchResult:
    known: dict[str, Any] = {
        "made": "2026-01-01T00:00:00Z",
        "target": "local run llm",
        "url": "http://127.0.0.1:8080",
        "model": "llm",
        "load": Load(input_tokens=256, output_tokens=64),
    }
    return BenchResult(**known | {"rungs": rungs} | changes)


def test_a_rung_is_what_vllm_wrote() -> None:
    found = rung_of(RAW, 2, "concurrency-0002.json", None)
    assert (found.requests, found.errors, found.error) == (2, 1, "ConnectionError: refused")
    assert found.ttft_ms is not None
    assert (found.ttft_ms.p50, found.ttft_ms.count) == (200, 2)
    assert found.itl_ms is not None
    assert (found.itl_ms.p50, found.itl_ms.count) == (20, 4)
    assert found.e2e_ms is not None
    assert found.e2e_ms.p99 == pytest.approx(338.0)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param({}, id="nothing"),
        pytest.param(RAW | {"duration": "soon"}, id="no-number"),
        pytest.param(RAW | {"itls": [["x"]]}, id="no-latency"),
    ],
)
def test_what_another_version_writes_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(MultinodeError) as refused:
        rung_of(raw, 2, "raw.json", None)
    assert refused.value.code is ExitCode.USAGE
    assert "raw.json" in str(refused.value)


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1), (50, 2.5), (95, 3.85), (100, 4)], ids=["least", "middle", "p95", "most"]
)
def test_percentiles_are_numpys(percent: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], percent) == pytest.approx(value)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([5.0], id="one"),
        pytest.param([5.0] * 9, id="all-the-same"),
        pytest.param([0.0, 0.0], id="zero"),
        pytest.param([0.0, 1e6], id="far-apart"),
        pytest.param([float("nan"), 1.0, float("inf"), -1.0], id="not-numbers"),
    ],
)
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    found = latency_of(values)
    assert found is not None
    assert sum(found.bins) == found.count
    assert list(found.edges) == sorted(found.edges)
    assert len(found.edges) == len(found.bins) + 1


def test_no_values_have_no_distribution() -> None:
    assert latency_of([]) is None


def test_the_table_fits_and_says_everything() -> None:
    verdict = Verdict(
        id="queue", concurrency=8, sentence="requests queue.", evidence=("8 wait",), advice="Add."
    )
    failed = rung(8).model_copy(update={"errors": 3, "error": "refused"})
    text = as_text(result(rung(1), failed, verdicts=(verdict,), ended="interrupted"))
    assert max(map(len, text.splitlines())) <= 90
    for word in ("TTFT p50", "99", "queue: requests queue.", "8 wait", "-> Add.", "interrupted", "3 failed"):
        assert word in text


def test_a_comparison_says_what_has_changed_and_what_is_not_comparable() -> None:
    before, now = result(rung(1), rung(8)), result(rung(8, 2.0), rung(16))
    assert {one.concurrency for one in changes(before, now)} == {8}
    text = compared(before, now, "old.json")
    assert "+100%" in text
    assert "-50%" in text
    assert "nothing differs" in compared(before, before, "old.json")
    assert "the two runs have no concurrency in common" in compared(
        result(rung(1)), result(rung(2)), "old.json"
    )
    other = result(rung(8), load=Load(input_tokens=1, output_tokens=64))
    assert "not the same load: prompts of 1 then, 256 now" in compared(other, now, "old.json")


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = result(rung(1), rung(4))
    write(found, tmp_path)
    assert read_result((tmp_path / RESULT).read_text(), "result.json") == found
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {RESULT, *charts(found)}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="list"),
        pytest.param('{"format": 1}', id="incomplete"),
        pytest.param('{"format": 2}', id="another-format"),
    ],
)
def test_another_file_is_no_result(text: str) -> None:
    with pytest.raises(MultinodeError) as refused:
        read_result(text, "old.json")
    assert refused.value.code is ExitCode.USAGE
    assert str(refused.value).startswith("old.json: ")


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(result(rung(1), rung(2), rung(16)), id="three"),
        pytest.param(result(rung(1)), id="one"),
        pytest.param(result(), id="none"),
        pytest.param(
            result(rung(3).model_copy(update={"ttft_ms": None, "tokens_per_s": 0.0})), id="nothing-came"
        ),
    ],
)
def test_drawings_are_whole_and_ask_nobody(found: BenchResult) -> None:
    made = charts(found)
    assert "throughput.svg" in made
    for text in made.values():
        root = ET.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "nan" not in text
        assert text.count("http") == 1, "the name space alone"
        assert "<script" not in text


def test_a_drawing_has_a_point_for_each_rung_and_stays_inside() -> None:
    root = ET.fromstring(charts(result(rung(1), rung(2), rung(16)))["ttft.svg"])
    circles = root.findall("{*}circle")
    assert len(circles) == 9
    assert all(
        0 <= float(one.get("cx", "-1")) <= 400 and 0 <= float(one.get("cy", "-1")) <= 210 for one in circles
    )


def test_labels_of_a_drawing_do_not_cover_each_other() -> None:
    found = rung(4).model_copy(update={"ttft_ms": latency_of([5.0] * 9)})
    root = ET.fromstring(charts(result(rung(1), found))["ttft.svg"])
    labels = [one for one in root.findall("{*}text") if (one.text or "").startswith("p")]
    heights = sorted(float(one.get("y", "0")) for one in labels)
    assert len(heights) == 3
    assert all(below - above >= 12 for above, below in pairwise(heights))


def test_a_folder_with_a_benchmark_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text(json.dumps({}))
    with pytest.raises(MultinodeError) as refused:
        new_folder(tmp_path, "llm")
    assert refused.value.code is ExitCode.USAGE


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MultinodeError) as refused:
        new_folder(tmp_path / "file", "llm")
    assert refused.value.code is ExitCode.NOT_WRITABLE
