"""The programs of examples/, as they are: typed for two checkers, and run to their end."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from unit.cluster.stub_api import StubApi

EXAMPLES = Path(__file__).parents[3] / "examples"
SPEC = {
    "name": "llama",
    "model": {"claim": "models", "path": "llama", "size": "131Gi"},
    "parallelism": {"tensor": 8, "pipeline": 2},
}
_MULTINODE = f"#!{sys.executable}\nfrom vllm_multinode.cli.main import main\nmain()\n"


def program(name: str) -> ModuleType:
    """An example as a module."""
    specification = importlib.util.spec_from_file_location(Path(name).stem, EXAMPLES / name)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_what_is_built_and_rendered_passes_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program("build_and_render.py").main(str(tmp_path / "llama"))
    assert {"kustomization.yaml", "inference-service.yaml"} <= {
        one.name for one in (tmp_path / "llama").iterdir()
    }
    capsys.readouterr()
    assert program("validate_in_ci.py").main([str(tmp_path / "llama")]) == 0


def test_a_pipeline_fails_on_what_will_not_serve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "service.yaml"
    program("build_and_render.py").main(str(tmp_path / "llama"))
    (service,) = yaml.safe_load_all((tmp_path / "llama" / "inference-service.yaml").read_text())
    service["spec"]["predictor"]["minReplicas"] = 2
    service["spec"]["predictor"]["maxReplicas"] = 3
    bad.write_text(yaml.safe_dump(service))
    check = program("validate_in_ci.py").main
    assert check([str(bad)]) == 1
    assert str(bad) in capsys.readouterr().out
    assert check([str(tmp_path / "absent.yaml")]) == 1
    assert "absent.yaml" in capsys.readouterr().err


def test_a_fleet_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    fleet = program("plan_a_fleet.py")
    fleet.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(fleet.MODELS)
    assert "2 nodes x 8 GPUs (TP 8, PP 2), 2 copies on 4 nodes" in lines[0]
    fleet.main("L4", 1)
    assert "does not fit; it needs" in capsys.readouterr().out


def test_the_service_is_created_through_the_sdk(kserve_api: StubApi) -> None:
    if importlib.util.find_spec("kserve") is None:
        pytest.skip("the KServe SDK is not installed")
    from vllm_multinode import DeploymentSpec, Model, Parallelism, render

    # A process of its own: the SDK reads KUBECONFIG when it is imported.
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / "create_with_sdk.py")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "llama serves at http://llama.example.com" in ended.stdout
    created = kserve_api.get("inferenceservices", "llama", "models")
    assert created is not None
    spec = DeploymentSpec(
        name="llama",
        namespace="models",
        model=Model(claim="models", path="llama"),
        parallelism=Parallelism(tensor=4, pipeline=2),
    )
    (body,) = render(spec, "kserve-0.19.0").files["inference-service.yaml"]
    created["spec"]["predictor"]["model"].pop("name", None)
    assert created["spec"] == body["spec"]
    assert (
        kserve_api.get("servingruntimes", body["spec"]["predictor"]["model"]["runtime"], "models") is not None
    )


def test_a_step_of_kubeflow(kserve_api: StubApi, tmp_path: Path) -> None:
    compiler = pytest.importorskip("kfp.compiler", reason="kfp is not installed", exc_type=ImportError)
    step = program("pipelines/kubeflow.py")
    compiler.Compiler().compile(step.pipeline, str(tmp_path / "pipeline.yaml"))
    assert "vllm-multinode[cluster]" in (tmp_path / "pipeline.yaml").read_text()
    # The pipeline to its end, by Kubeflow's own local runner; what the step installs is installed here.
    runner = f"""
import os, sys
sys.path.insert(0, {str(EXAMPLES / "pipelines")!r})
from kfp import local
import kubeflow
runs = {str(tmp_path / "runs")!r}
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=runs, raise_on_error=True)
task = kubeflow.serve(spec=os.environ["SPEC"], namespace="models")
print("ADDRESS", task.output)
kubeflow.pipeline(spec=os.environ["SPEC"], namespace="models")
"""
    ended = subprocess.run(
        [sys.executable, "-c", runner],
        env={**os.environ, "SPEC": yaml.safe_dump(SPEC)},
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "ADDRESS http://llama.example.com" in ended.stdout
    assert kserve_api.get("inferenceservices", "llama", "models") is not None


def test_a_task_of_airflow(kserve_api: StubApi, tmp_path: Path) -> None:
    pytest.importorskip("airflow.sdk", reason="Airflow is not installed", exc_type=ImportError)
    home = {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES / "pipelines"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    conf = json.dumps({"spec": yaml.safe_dump(SPEC), "namespace": "models"})

    def airflow(*words: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-m", "airflow", *words],
            env={**os.environ, **home},
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    airflow("db", "migrate")
    for _ in ("the first run", "a second, which changes nothing"):
        printed = airflow("dags", "test", "serve_a_model", "--conf", conf)
        assert "state=success" in printed, printed
    assert kserve_api.get("inferenceservices", "llama", "models") is not None


def test_a_step_of_argo(kserve_api: StubApi, tmp_path: Path) -> None:
    template = yaml.safe_load((EXAMPLES / "pipelines" / "argo.yaml").read_text())["spec"]["templates"][0]
    spec = tmp_path / "llama.yaml"
    spec.write_text(yaml.safe_dump(SPEC))
    for name, text in (("multinode", _MULTINODE), ("pip", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (script,) = template["container"]["args"]
    assert template["inputs"]["artifacts"][0]["path"] in script
    script = script.replace("/spec/llama.yaml", str(spec)).replace(
        "{{workflow.parameters.namespace}}", "models"
    )
    ended = subprocess.run(
        [*template["container"]["command"], script],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "serves at http://llama.example.com" in ended.stdout
    assert kserve_api.get("inferenceservices", "llama", "models") is not None


_PROGRAMS = sorted(EXAMPLES.rglob("*.py"))


def test_mypy_accepts_them_strictly_without_plugins(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--all-versions", default=False):
        pytest.skip("it reads the whole package without a cache: half a minute; --all-versions runs it")
    configuration = tmp_path / "mypy.ini"
    # What others ship without types, or is not installed here; decorators of theirs are untyped with it.
    others = [f"[mypy-{name}.*]\nignore_missing_imports = True\n" for name in ("kserve", "kfp", "airflow")]
    steps = [f"[mypy-{name}]\ndisallow_untyped_decorators = False\n" for name in ("kubeflow", "airflow_dag")]
    configuration.write_text("".join(["[mypy]\nstrict = True\n", *others, *steps]))
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(configuration),
        "--cache-dir",
        str(tmp_path),
    ]
    ended = subprocess.run(
        [*command, *map(str, _PROGRAMS)], capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout


def test_pyright_accepts_them() -> None:
    pytest.importorskip("basedpyright", reason="basedpyright comes with the extra [dev]")
    files = [str(path) for path in _PROGRAMS]
    command = [sys.executable, "-m", "basedpyright", "--level", "error", "--outputjson", *files]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=EXAMPLES)
    found = json.loads(ended.stdout)["generalDiagnostics"]
    # What is not installed here cannot be resolved.
    told = [one for one in found if one.get("rule") != "reportMissingImports"]
    assert told == []
