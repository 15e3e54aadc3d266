"""What is generated is what scripts/generate writes."""

import os
import subprocess
import sys

import pytest

from manifests.folders import MANIFESTS, ROOT, load
from vllm_multinode.authoring.render.runtime import serving_runtime


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts/generate"), *arguments]
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


GENERATED = ("components", "manifests", "template", "rules", "spec", "gitops", "overlays")


@pytest.mark.parametrize("name", GENERATED)
def test_nothing_would_change(name: str) -> None:
    done = generate("--check", name)
    said = f"run scripts/generate {name}\n{done.stdout}{done.stderr}"
    assert (done.returncode, done.stdout) == (0, ""), said


def test_the_table_of_the_installed_vllm_is_its_own() -> None:
    done = generate("--check", "architectures")
    if "left out" in done.stdout:
        pytest.skip(done.stdout.strip())
    assert (done.returncode, done.stdout) == (0, ""), f"run scripts/generate architectures\n{done.stdout}"


def test_what_a_generator_lacks_is_said() -> None:
    done = generate("kserve_fields")
    assert (done.returncode, done.stdout) == (
        2,
        "kserve_fields: left out: it needs --kserve-clone, --openshift-ai-clone and --lws\n",
    )


def test_comments_change_nothing() -> None:
    assert load(MANIFESTS / "runtime/ray/servingruntime.yaml") == [serving_runtime("ray", install="image")]
    assert load(MANIFESTS / "runtime/mp/servingruntime.yaml") == [serving_runtime("mp")]
    (whole,) = load(MANIFESTS / "runtime/cluster/clusterservingruntime.yaml")
    assert whole == serving_runtime("ray", install="image") | {"kind": "ClusterServingRuntime"}
