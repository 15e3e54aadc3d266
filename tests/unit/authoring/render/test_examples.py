"""The examples below tests/data/authoring, file by file. scripts/generate spec writes them again."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kserve_inputs import VERSIONS
from vllm_multinode.authoring.folder import MARKER, write
from vllm_multinode.authoring.preview import preview
from vllm_multinode.authoring.render import application, render
from vllm_multinode.authoring.rules import validate
from vllm_multinode.authoring.spec import load
from vllm_multinode.authoring.spec.reference import reference
from vllm_multinode.authoring.spec.schema import json_schema
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.k8s.documents import from_text
from vllm_multinode.k8s.parser import parse
from vllm_multinode.platforms.releases import find

_ROOT = Path(__file__).parents[4]
_EXAMPLES = _ROOT / "tests/data/authoring"
_NAMES = [path.name for path in sorted(_EXAMPLES.iterdir())]
_FOLDERS = [path.parent for path in sorted(_EXAMPLES.glob("*/*/kustomization.yaml"))]

# The launcher's ConfigMap is not recorded: it changes with every change of the launcher.
_LAUNCHER = "launcher.yaml"
_NO_DIGEST = "0" * 10

# Example -> nodes and accelerators of each.
_MEANT = {
    "deepseek-r1": (2, "nvidia.com/gpu", "8"),
    "llama-70b": (2, "nvidia.com/gpu", "4"),
    "llama-gaudi": (2, "habana.ai/gaudi", "8"),
    "mixtral-amd": (2, "amd.com/gpu", "4"),
    "tiny-cpu": (2, "cpu", "1"),
}

# Example -> what of it these versions cannot do.
_BEYOND = {
    "llama-gaudi": (r"model\.oci", ("0.15.0", "0.15.1", "0.15.2", "0.16.0")),
    "tiny-cpu": ("accelerator", ("0.15.0",)),
}


@pytest.mark.parametrize("folder", _FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_rendered_as_recorded(folder: Path) -> None:
    made = render(load(folder.parent / "spec.yaml"), target=folder.name)  # type: ignore[arg-type]
    recorded = set(made.files) - {_LAUNCHER}
    assert {path.name for path in folder.iterdir()} == recorded
    for name in recorded:
        text = made.text(name).replace(application.digest(), _NO_DIGEST)
        assert (folder / name).read_text(encoding="utf-8") == MARKER + text


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", _NAMES)
def test_makes_the_nodes_that_are_meant(name: str, version: str) -> None:
    spec = load(_EXAMPLES / name / "spec.yaml")
    if (beyond := _BEYOND.get(name)) is not None and version in beyond[1]:
        with pytest.raises(MultinodeError, match=beyond[0]):
            render(spec, version)
        return
    made = render(spec, version)
    findings = validate(from_text(made.stream(), "-"), (find(version),))
    bad = {one.rule for one in findings if one.severity in ("refused", "stalls")}
    assert bad == ({"workers-recreated"} if version == "0.20.0" else set())
    nodes, resource, count = _MEANT[name]
    deployments = [one for one in preview(made.documents, version).objects if one["kind"] == "Deployment"]
    assert [one["spec"]["replicas"] for one in deployments] == [1, nodes - 1] * spec.replicas
    for deployment in deployments:
        resources = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
        assert resources["requests"][resource] == resources["limits"][resource] == count


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", _FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_kustomize_takes_it(folder: Path, tmp_path: Path) -> None:
    made = render(load(folder.parent / "spec.yaml"), target=folder.name)  # type: ignore[arg-type]
    written = tmp_path / "rendered"
    write(written, {name: made.text(name) for name in made.files})
    built = subprocess.run(["kubectl", "kustomize", written], capture_output=True, text=True, check=True)
    found = [one.body for one in from_text(built.stdout, "-")]
    assert sorted(found, key=_place) == sorted(made.documents, key=_place)


def _place(body: dict[str, Any]) -> tuple[str, str]:
    return body["kind"], body["metadata"]["name"]


def test_documented_as_it_is() -> None:
    assert (_ROOT / "docs/spec.md").read_text(encoding="utf-8") == reference()


@pytest.mark.parametrize("name", _NAMES)
def test_schema_takes_the_examples(name: str) -> None:
    validator = pytest.importorskip("jsonschema", reason="jsonschema is not installed").Draft202012Validator
    (node,) = parse((_EXAMPLES / name / "spec.yaml").read_text(encoding="utf-8"), name)
    assert list(validator(json_schema()).iter_errors(node.data())) == []
