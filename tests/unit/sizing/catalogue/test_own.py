"""Entries of the user's own: they stand beside the catalogue's, and a mistake is one line with its place."""

import json
from pathlib import Path

import pytest

from unit.sizing.models import small
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.model.sources import find_model
from vllm_multinode.sizing.planner.request import find_gpu

WHOLE = """
models:
  - {name: our-org/our-model, aliases: [ours], config: llama/config.json}
accelerators:
  - {name: lab-gpu, memory_gb: 96, bandwidth_gbs: 4000, products: [LAB-96]}
  - {name: L4, memory_gb: 999}
shapes:
  - {name: lab-node, accelerator: lab-gpu, accelerators: 6, memory_gib: 512, vcpus: 64, rdma: true}
"""


def write(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "llama").mkdir(exist_ok=True)
    (folder / "llama" / "config.json").write_text(json.dumps(small()))
    file = folder / "own.yaml"
    file.write_text(text)
    monkeypatch.setenv(env.CATALOGUE, str(file))
    return file


def test_they_are_found_by_every_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, WHOLE, monkeypatch)
    assert catalogue.accelerator("LAB 96").name == "lab-gpu"
    assert catalogue.accelerator("lab-gpu").source == (str(file),)
    assert find_model("ours").model.hidden == small()["hidden_size"]
    assert find_model("our-model").name == "our-model"
    gpu, count, _ = find_gpu("lab-node")
    assert (gpu.name, count) == ("lab-gpu", 6)
    assert "lab-node" in catalogue.names("shape")
    assert catalogue.search("model", "our") == ("our-org/our-model",)
    # What they do not name is still there.
    assert catalogue.accelerator("H100").name == "H100-SXM-80GB"


def test_one_replaces_the_catalogues_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, WHOLE, monkeypatch)
    assert catalogue.accelerator("L4").memory_gb == 999
    assert catalogue.names("accelerator").count("L4") == 1


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        pytest.param("gpus: []", 1, "'gpus' is not one of accelerators, shapes, models", id="unknown-list"),
        pytest.param("models:\n  a: b", 2, "models is not a list", id="no-list"),
        pytest.param("models:\n  - a", 2, "not a mapping", id="no-mapping"),
        pytest.param("- a", 1, "not a mapping", id="a-list"),
        pytest.param("models:\n  - name: a/b\n    sorce: x", 3, "Did you mean source?", id="slip"),
        pytest.param("models:\n  - name: a/b", 2, "the model has no config", id="missing"),
        pytest.param("accelerators:\n  - name: x\n    memory_gb: many", 3, "memory_gb", id="no-number"),
        pytest.param("accelerators:\n  - name: x\n    memory_gb: -1", 2, "not above zero", id="negative"),
        pytest.param("models:\n  - name: a/b\n    config: none.json", 3, "no file none.json", id="no-file"),
        pytest.param("models: [", 2, "is not YAML", id="no-yaml"),
        pytest.param("shapes:\n  - {name: x, accelerator: L4}", 2, "no accelerators", id="no-count"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(
    text: str, line: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, text, monkeypatch)
    with pytest.raises(MultinodeError) as refusal:
        catalogue.names("model")
    assert refusal.value.code is ExitCode.USAGE
    assert str(refusal.value).startswith(f"{file}:{line}: "), refusal.value
    assert says in str(refusal.value)


def test_a_file_that_is_not_there_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(env.CATALOGUE, str(tmp_path / "absent.yaml"))
    with pytest.raises(MultinodeError, match="MULTINODE_CATALOGUE") as refusal:
        catalogue.accelerator("H100")
    assert refusal.value.code is ExitCode.VARIABLE


def test_an_unknown_name_leads_on() -> None:
    with pytest.raises(MultinodeError) as model:
        catalogue.model("lama-3.3-70b")
    assert "Llama-3.3-70B" in model.value.hint
    assert "hf://org/name" in model.value.hint
    with pytest.raises(MultinodeError) as other:
        catalogue.model("some-org/their-model")
    assert "hf://some-org/their-model" in other.value.hint
    with pytest.raises(MultinodeError) as gpu:
        find_gpu("p5.48xlarg")
    assert "p5.48xlarge" in gpu.value.hint
    assert "multinode gpus" in gpu.value.hint


def test_a_gpu_that_vllm_does_not_run_on_is_refused() -> None:
    with pytest.raises(MultinodeError, match="does not run on P100"):
        find_gpu("VM.GPU2.1")
