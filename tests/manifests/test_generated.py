"""What is generated is what scripts/manifests writes."""

import subprocess
import sys

from manifests.folders import MANIFESTS, ROOT, load
from vllm_multinode.authoring.render.runtime import serving_runtime


def test_nothing_would_change() -> None:
    command = [sys.executable, str(ROOT / "scripts/manifests"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), f"run scripts/manifests\n{done.stdout}{done.stderr}"


def test_comments_change_nothing() -> None:
    assert load(MANIFESTS / "runtime/ray/servingruntime.yaml") == [serving_runtime("ray", install="image")]
    assert load(MANIFESTS / "runtime/mp/servingruntime.yaml") == [serving_runtime("mp")]
    (whole,) = load(MANIFESTS / "runtime/cluster/clusterservingruntime.yaml")
    assert whole == serving_runtime("ray", install="image") | {"kind": "ClusterServingRuntime"}
