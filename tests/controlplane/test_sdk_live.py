"""KServe's SDK creates what `inference_service` builds, the same as `kubectl apply` creates from `render`."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from controlplane.plane.kubectl import Kubectl
from controlplane.plane.running import Plane
from engine.services import eventually
from vllm_multinode import DeploymentSpec, Model, Parallelism, render

ROOT = Path(__file__).parents[2]
_PROGRAM = """
import sys, yaml
from kserve import KServeClient
from vllm_multinode import inference_service, loads
kubeconfig, namespace, platform = sys.argv[1:]
spec = loads(sys.stdin.read())
KServeClient(config_file=kubeconfig).create(inference_service(spec, platform), namespace=namespace)
"""
_INSTALL = 300


def _spec(name: str) -> DeploymentSpec:
    return DeploymentSpec(
        name=name,
        model=Model(claim="models", path="llama", size="131Gi"),
        parallelism=Parallelism(tensor=4, pipeline=2),
    )


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param((), id="newest"),
        pytest.param(("kserve==0.15.2", "kubernetes==31.0.0"), id="oldest"),
        pytest.param(("kserve==0.19.0", "kubernetes==33.1.0"), id="between"),
    ],
)
def test_the_sdk_creates_it(
    pair: tuple[str, ...], plane: Plane, kubectl: Kubectl, request: pytest.FixtureRequest
) -> None:
    if pair and not (request.config.getoption("--all-versions") or request.config.getoption("--kserve")):
        pytest.skip("--all-versions and --kserve try the other pairs of kserve and kubernetes")
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("the SDK needs an environment of its own, and there is no uv on PATH")
    rendered = render(_spec("by-kubectl"), plane.kserve)
    kubectl.apply(*rendered.documents)
    isolated = [uv, "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable]
    packages = [word for package in pair for word in ("--with", package)]
    ended = subprocess.run(
        [*isolated, "--with-editable", f"{ROOT}[sdk]", *packages, "python", "-W", "ignore", "-c", _PROGRAM,
         str(plane.kubeconfig), kubectl.namespace, f"kserve-{plane.kserve.removeprefix('v')}"],
        input=yaml.safe_dump(_spec("by-sdk").model_dump(mode="json", by_alias=True, exclude_unset=True)),
        capture_output=True, text=True, timeout=_INSTALL, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    created, applied = (kubectl.get("inferenceservice", name) for name in ("by-sdk", "by-kubectl"))
    assert _comparable(created["spec"]) == _comparable(applied["spec"])
    assert created["metadata"].get("annotations", {}).keys() >= {"serving.kserve.io/autoscalerClass"}
    eventually(lambda: {"by-sdk-predictor", "by-sdk-predictor-worker"} <= _deployments(kubectl))


def _deployments(kubectl: Kubectl) -> set[str]:
    return {one["metadata"]["name"] for one in kubectl.list("deployments")}


def _comparable(spec: dict[str, object]) -> dict[str, object]:
    """The spec without the name, which the services share with their Secrets and labels."""
    text = yaml.safe_dump(spec).replace("by-sdk", "NAME").replace("by-kubectl", "NAME")
    loaded: dict[str, object] = yaml.safe_load(text)
    return loaded
