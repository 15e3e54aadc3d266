"""What is drawn again and again ends with Ctrl-C, and outlives an API that does not answer for a while."""

import pytest

from unit.cluster.stub_api import StubApi, status
from unit.operate.test_status import put_service
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode


def test_watch_goes_on_through_a_lost_answer(
    api: StubApi, kubeconfig: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_service(api)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            api.refuse("GET", "inferenceservices", 500, status(500, "etcd leader changed"), times=1)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    assert run(["status", "llm", "--watch", "--interval", "0.5"]) == ExitCode.OK
    printed = capsys.readouterr().out
    assert printed.count("InferenceService demo/llm: serving") == 2
    assert printed.count("etcd leader changed") == 1
    assert slept == [0.5, 0.5, 0.5]


def test_the_first_look_says_what_is_wrong(
    api: StubApi, kubeconfig: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", "llm", "--watch"]) == ExitCode.NOT_SERVING
    assert "there is no InferenceService" in capsys.readouterr().err
