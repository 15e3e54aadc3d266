"""The Job that fills a claim: followed in its own words, and ended by its own reason."""

import threading
from typing import Any

import pytest

from unit.cluster.stub_api import StubApi
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.fetching import bar, complete_job
from vllm_multinode.cluster.patience import await_object
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

LINE = "2026-01-01T00:00:00Z llm-fetch-x INFO 1.5 of 30.0 GiB (5 %), 210 MiB/s, 2 min left\n"


def job(*conditions: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "llm-fetch"},
        "status": {"conditions": list(conditions)},
    }


def pod(phase: str, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "llm-fetch-x", "labels": {"job-name": "llm-fetch"}},
        "spec": {},
        "status": {"phase": phase, **status},
    }


def test_it_shows_what_the_job_says_until_it_is_complete(api: StubApi, cluster: Cluster) -> None:
    api.put(job())
    api.put(pod("Running"))
    api.logs["llm-fetch-x"] = LINE
    shown: list[str] = []

    def show(line: str) -> None:
        shown.append(line)
        threading.Timer(0.1, lambda: api.put(job({"type": "Complete", "status": "True"}))).start()

    await_object(complete_job(cluster, "llm-fetch"), timeout=30, show=show, poll=0.01)
    assert shown == ["[#.......................] 1.5 of 30.0 GiB (5 %), 210 MiB/s, 2 min left"]


def test_one_that_was_quick_still_says_what_it_has_brought(api: StubApi, cluster: Cluster) -> None:
    api.put(job({"type": "Complete", "status": "True"}))
    api.put(pod("Succeeded"))
    api.logs["llm-fetch-x"] = "/models/llm is whole: hf://a/b at 0123, 7 files, 1.00 GiB (3 s)\n"
    shown: list[str] = []
    await_object(complete_job(cluster, "llm-fetch"), timeout=30, show=shown.append, poll=0.01)
    assert shown == ["/models/llm is whole: hf://a/b at 0123, 7 files, 1.00 GiB (3 s)"]


def test_its_last_words_are_the_reason(api: StubApi, cluster: Cluster) -> None:
    said = "INFO\nmultinode: hf://a/b: the token is rejected. (exit code 81)"
    ended = [{"name": "fetch", "state": {"terminated": {"message": said}}}]
    api.put(job({"type": "Failed", "status": "True", "message": "PodFailurePolicy"}))
    api.put(pod("Failed", containerStatuses=ended))
    with pytest.raises(MultinodeError) as caught:
        await_object(complete_job(cluster, "llm-fetch"), timeout=30, show=print, poll=0.01)
    assert caught.value.code == ExitCode.NOT_SERVING
    assert "has failed: hf://a/b: the token is rejected." in str(caught.value)


@pytest.mark.parametrize(
    ("body", "timeout", "says"),
    [
        pytest.param(None, 30.0, "is gone", id="gone"),
        pytest.param(job(), 0.05, "is not complete after 0.05 s: no pod yet", id="in-time"),
        pytest.param(
            job({"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}),
            30.0,
            "Deadline",
            id="no-pod",
        ),
    ],
)
def test_it_ends(api: StubApi, cluster: Cluster, body: Any, timeout: float, says: str) -> None:
    if body:
        api.put(body)
    with pytest.raises(MultinodeError, match=says):
        await_object(complete_job(cluster, "llm-fetch"), timeout=timeout, show=print, poll=0.01)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        pytest.param("0.0 of 1.0 GiB (0 %), 0 MiB/s", "[........................] 0.0 of", id="nothing"),
        pytest.param("1.0 of 1.0 GiB (100 %), 9 MiB/s", "[########################] 1.0 of", id="all"),
        pytest.param("comparing its checksum", "comparing its checksum", id="other"),
    ],
)
def test_bar(line: str, shown: str) -> None:
    assert bar(line).startswith(shown)
