"""`multinode preview` as it is typed."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kserve_inputs import Body, gpus, runtime, service
from vllm_multinode.cli.app import run
from vllm_multinode.contract.exit_codes import ExitCode


def written(folder: Path, *bodies: Body, name: str = "in.yaml") -> str:
    path = folder / name
    path.write_text(yaml.safe_dump_all(bodies))
    return str(path)


def preview(*arguments: str) -> int:
    return run(["preview", *arguments])


def test_the_table_fits_110_columns_and_names_what_matters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = service(nodeSelector={"pool": "gpu"}, model={"resources": gpus(1)})
    assert preview("-f", written(tmp_path, runtime(), body)) == ExitCode.OK
    text = capsys.readouterr().out
    for expected in (
        "2 nodes, ray, TP 1 x PP 2",
        "llm-predictor-worker",
        "llm-head-1",
        "HEAD_SVC",
        "claim models",
    ):
        assert expected in text
    assert max(len(line) for line in text.splitlines()) <= 110


def test_yaml_is_the_objects_and_can_be_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert preview("-f", written(tmp_path, runtime(), service()), "-o", "yaml", "--generation", "3") == 0
    out = capsys.readouterr().out
    assert "&id" not in out
    objects = list(yaml.safe_load_all(out))
    assert [one["kind"] for one in objects] == ["Deployment"] * 2 + ["Service"] * 3 + ["Pod"] * 2
    assert objects[3]["metadata"]["name"] == "llm-head-3"


def test_json_says_whether_it_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, runtime(), service(minReplicas=2))
    assert preview("-f", path, "-o", "json") == ExitCode.WILL_NOT_SERVE
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["serves"] is False
    (blocking,) = (one for one in found["findings"] if one["severity"] == "stalls")
    assert blocking["path"] == "spec.predictor.minReplicas"
    assert found["groups"][0]["nodes"] == 2
    assert found["objects"]
    assert ": stalls many-replicas: KServe creates 2 heads" in told.err


def test_a_refusal_is_exit_code_4_and_the_rest_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = service(name="wrong", model={"storageUri": "s3://a/b"})
    assert preview("-f", written(tmp_path, runtime(), wrong, service())) == ExitCode.WILL_NOT_SERVE
    out = capsys.readouterr().out
    assert "Multinode only supports 'pvc' and 'oci'" in " ".join(out.split())
    assert "InferenceService llm on runtime rt" in out


def test_a_runtime_from_another_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, other = written(tmp_path, service()), written(tmp_path, runtime(), name="rt.yaml")
    assert preview("-f", path) == ExitCode.OK
    assert "The ServingRuntime rt is neither among the files" in " ".join(capsys.readouterr().out.split())
    assert preview("-f", path, "--runtime", other) == ExitCode.OK
    assert preview("-f", path, "-f", other) == ExitCode.OK


def test_an_old_kserve_makes_one_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, runtime(), service(version="0.14.1"))
    assert preview("-f", path, "--kserve", "v0.14.1") == ExitCode.WILL_NOT_SERVE
    assert "1 node, 0 GPUs" in capsys.readouterr().out


def test_diff_says_what_an_update_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = written(tmp_path, runtime(), service())
    after = written(tmp_path, service(model={"args": ["--seed=1"]}), name="after.yaml")
    shared = written(tmp_path, runtime(), name="rt.yaml")
    assert preview("-f", before, "--runtime", shared, "--diff", after) == ExitCode.OK
    out = capsys.readouterr().out
    assert "InferenceService llm: changed, generation 1 -> 2, 2 -> 2 GPUs" in out
    assert "Needs 2 more GPUs than the 2 in use, and cannot finish without them" in out
    assert preview("-f", before, "--diff", before) == ExitCode.OK
    assert "InferenceService llm: unchanged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        pytest.param("", ExitCode.MANIFEST, "holds no object", id="empty"),
        pytest.param("a: [", ExitCode.MANIFEST, "in.yaml", id="no-yaml"),
        pytest.param(
            "kind: Pod\napiVersion: v1\n",
            ExitCode.NOT_CHECKED,
            "contains none of InferenceService",
            id="a-pod",
        ),
    ],
)
def test_wrong_input_is_one_line(
    text: str, code: ExitCode, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.yaml"
    path.write_text(text)
    assert preview("-f", str(path)) == code
    said = capsys.readouterr()
    assert told in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


@pytest.mark.parametrize(
    ("model", "told"),
    [
        pytest.param("1", "1 is not a mapping. Write a mapping.", id="wrong-type"),
        pytest.param(
            "{modelFormat: {name: vLLM}, env: [{name: A, value: 2}]}",
            "2 is not text. Put it in quotes.",
            id="a-number-as-env",
        ),
    ],
)
def test_what_the_schema_refuses_is_a_finding(
    model: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.yaml"
    path.write_text(
        "kind: InferenceService\napiVersion: serving.kserve.io/v1beta1\nmetadata: {name: a}\n"
        f"spec: {{predictor: {{model: {model}}}}}\n"
    )
    assert preview("-f", str(path)) == ExitCode.WILL_NOT_SERVE
    assert told in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("version", ["0.13.0", "x", "0.18.1.2", ""])
def test_an_unknown_version_is_one_line(
    version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert preview("-f", written(tmp_path, service()), "--kserve", version) == ExitCode.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = yaml.safe_dump_all([runtime(), service()]).encode()

    class Stdin:
        buffer = io.BytesIO(text)

    monkeypatch.setattr(sys, "stdin", Stdin())
    assert preview("-f", "-") == ExitCode.OK
    assert "llm-predictor" in capsys.readouterr().out


def test_it_imports_nothing_heavy(tmp_path: Path) -> None:
    path = written(tmp_path, runtime(), service())
    heavy = ("kserve", "kubernetes", "ray", "vllm", "aiohttp", "torch", "rich")
    code = (
        "import sys\nfrom vllm_multinode.cli.app import run\n"
        f"assert run(['preview', '-f', {path!r}]) == 0\n"
        f"sys.exit(','.join(name for name in {heavy!r} if name in sys.modules) or 0)\n"
    )
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
