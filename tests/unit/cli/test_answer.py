"""`-o json`: one document on standard output, notes and errors on standard error."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from unit.cli.test_deploy import api
from unit.cluster.objects import head_says, running, service, with_status
from unit.cluster.stub_api import StubApi
from vllm_multinode.cli.answer import Answer, answering
from vllm_multinode.cli.app import COMMANDS, application, run
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

__all__ = ["api"]

_NO_RESULT = {
    "completion": "prints a shell's own code",
    "dashboard": "serves pages",
    "record": "writes JSON anyway; its --output is that file",
    "report": "writes an archive; its --output is that file",
    "schema": "prints JSON anyway",
}


def _leaves() -> Iterator[tuple[str, click.Command]]:
    root = application()
    context = click.Context(root)
    for name in COMMANDS:
        found = root.get_command(context, name)
        if isinstance(found, click.Group):
            yield from ((f"{name} {one}", command) for one, command in found.commands.items())
        elif found is not None:
            yield name, found


@pytest.mark.parametrize(("name", "command"), [pytest.param(*pair, id=pair[0]) for pair in _leaves()])
def test_every_command_that_has_a_result_takes_it(name: str, command: click.Command) -> None:
    outputs = [one for one in command.params if one.name == "output" and isinstance(one.type, click.Choice)]
    if name in _NO_RESULT:
        assert outputs == []
        return
    (option,) = outputs
    assert option.opts == ["--output", "-o"]
    assert isinstance(option.type, click.Choice)
    assert "json" in option.type.choices


def _document(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def _error(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    printed = capsys.readouterr()
    assert printed.out == ""
    error: dict[str, Any] = json.loads(printed.err.splitlines()[-1])["error"]
    assert sorted(error) == ["code", "hint", "name", "what", "where"]
    return error


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["-o", "json"], id="apart"),
        pytest.param(["-ojson"], id="together"),
        pytest.param(["--output=json"], id="with-equals"),
        pytest.param(["-qo", "json"], id="behind-another"),
    ],
)
def test_an_error_is_json_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "no-such-model-anywhere", *words]) == ExitCode.USAGE
    error = _error(capsys)
    assert (error["code"], error["name"]) == (2, "USAGE")
    assert "no-such-model-anywhere" in error["what"]


def test_a_mistake_of_the_command_line_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", "-o", "json", "--no-such-option"]) == ExitCode.USAGE
    assert "--no-such-option" in _error(capsys)["what"]
    assert run(["local", "kill", "-o", "json"]) == ExitCode.USAGE
    assert _error(capsys)["hint"] == "See `multinode local kill --help`."


def test_an_error_is_text_where_json_was_not_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["local", "run", "--model", "m", "--no-such-option", "--", "-o", "json"]) == ExitCode.USAGE
    assert capsys.readouterr().err.startswith("multinode: No such option")


def test_render(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", "-f", "spec.yaml", "--out", "llm", "-o", "json"]) == ExitCode.OK
    document = _document(capsys)
    assert sorted(document) == ["files", "notes", "objects"]
    assert str(Path("llm/inference-service.yaml")) in document["files"]
    assert all(Path(file).is_file() for file in document["files"])
    assert "InferenceService" in [one["kind"] for one in document["objects"]]
    assert run(["render", "-f", "spec.yaml", "-o", "json"]) == ExitCode.OK
    assert _document(capsys) == {**document, "files": []}
    Path("llm/inference-service.yaml").write_text("mine: true\n")
    assert run(["render", "-f", "spec.yaml", "--out", "llm", "-o", "json"]) == ExitCode.USAGE
    assert "inference-service.yaml" in _error(capsys)["what"]


def test_deploy_and_delete(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["deploy", "spec.yaml", "--kserve", "0.18.1", "--no-wait", "-o", "json"]
    assert run(command) == ExitCode.OK
    document = _document(capsys)
    assert (document["deployment"], document["namespace"], document["dryRun"]) == ("llm", "demo", False)
    created = {one["object"] for one in document["objects"] if one["result"] == "created"}
    assert "InferenceService demo/llm" in created
    assert run(command) == ExitCode.OK
    assert "created" not in {one["result"] for one in _document(capsys)["objects"]}
    assert run(["delete", "llm", "-o", "json"]) == ExitCode.OK
    document = _document(capsys)
    assert {one["object"] for one in document["deleted"]} == created
    assert run(["delete", "llm", "-o", "json"]) == ExitCode.OK
    assert _document(capsys) == {"deployment": "llm", "namespace": "demo", "deleted": [], "kept": []}


def test_wait(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.put(with_status(service(), ready="True", url="http://llm.example.com"))
    api.put(running())
    api.heads["llm-predictor-0:8081"] = head_says()
    api.heads["llm-predictor-0:8080"] = lambda path: (
        {"data": [{"id": "llm"}]} if path.endswith("models") else {"choices": [{"text": " four"}]}
    )
    assert run(["wait", "llm", "--timeout", "60", "--ask", "One two three", "-o", "json"]) == ExitCode.OK
    printed = capsys.readouterr()
    (served,) = json.loads(printed.out)["services"]
    assert served.pop("seconds") >= 0
    assert served == {
        "object": "InferenceService demo/llm",
        "url": "http://llm.example.com",
        "completion": " four",
    }
    assert "Waiting for InferenceService demo/llm" in printed.err
    assert run(["wait", "other", "--timeout", "60", "-o", "json", "-q"]) == ExitCode.NOT_SERVING
    assert _error(capsys)["name"] == "NOT_SERVING"


def test_up_writes_a_folder(api: StubApi, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["llama-3.1-405b-instruct-fp8", "--gpu", "H100-SXM", "--gpus-per-node", "8", "--out", "llama"]
    assert run(["up", *words, "-o", "json"]) == ExitCode.OK
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["spec"]["parallelism"] == {"tensor": 8, "pipeline": 1}
    assert all(Path(file).is_file() for file in document["files"])
    assert "Parallelism: TP 8" in printed.err


@pytest.mark.parametrize(
    ("done", "printed"),
    [pytest.param({}, "", id="nothing"), pytest.param({"objects": ["a"]}, ["a"], id="a-part")],
)
def test_what_was_done_before_an_error_is_printed(
    done: dict[str, Any], printed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(answer: Answer) -> None:
        answer.fields |= done
        raise MultinodeError(ExitCode.NOT_SERVING, "does not serve.")

    with pytest.raises(MultinodeError), answering("json", objects=[]) as answer:
        work(answer)
    out = capsys.readouterr().out
    assert (json.loads(out)["objects"] if out else out) == printed


def test_make_model_and_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert run(["local", "make-model", str(tmp_path / "model"), "-o", "json"]) == ExitCode.OK
    document = _document(capsys)
    assert (document["shards"], document["directory"]) == (2, str(tmp_path / "model"))
    assert run(["local", "clean", "-o", "json"]) == ExitCode.OK
    assert "removed" in _document(capsys)
    assert run(["local", "run", "--model", str(tmp_path / "model"), "-o", "json"]) == ExitCode.USAGE
    assert "--detach" in _error(capsys)["hint"]
