"""One service of each system, converted, and the pods that KServe makes of it run here up to an answer.

The source's files become a spec and manifests as `multinode convert` writes them; `preview` says which pods
KServe makes of those, and these run on local nodes with the real engine. The claim holds the tiny model, as
the fetch Job would have left it, and the image is one for CPUs.
"""

import base64
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from controlplane.kubelet import environment, volumes
from controlplane.test_closed_loop import image
from engine.conftest import Start
from engine.services import eventually
from vllm_multinode.authoring.preview import preview
from vllm_multinode.cli.app import run
from vllm_multinode.contract import env
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.access import mapping
from vllm_multinode.k8s.files import read
from vllm_multinode.local.world.pod_spec import PodSpec
from vllm_multinode.platforms.releases import DEFAULT

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        find_spec("vllm") is None, reason="no vLLM here; `multinode local install` installs it"
    ),
]

PATIENCE = 300.0
"""Seconds that a start of the engine may take on a slow machine."""

KAITO = """
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: tiny}
resource: {count: 2, instanceType: Standard_NC24ads_A100_v4, labelSelector: {matchLabels: {apps: tiny}}}
inference: {preset: {name: example/tiny}, config: tiny}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: tiny}
data:
  inference_config.yaml: |
    vllm: {max-model-len: 128, pipeline-parallel-size: 2, tensor-parallel-size: 1}
"""
OCI = """
{"deployment_name": "tiny", "recipe_mode": "service", "recipe_image_uri": "vllm/vllm-openai:v0.9.1",
 "recipe_node_shape": "VM.GPU.A10.1", "recipe_replica_count": 1, "recipe_nvidia_gpu_count": 1,
 "multinode_num_nodes_to_use_from_shared_pool": 2, "recipe_use_shared_node_pool": true,
 "recipe_container_port": "8000",
 "recipe_container_command_args": ["--model", "example/tiny", "--tensor-parallel-size", "1",
  "--pipeline-parallel-size", "2", "--max-model-len", "128"]}
"""
EKS = """
model: example/tiny
modelParameters: {maxModelLen: 128, tensorParallelSize: 1, pipelineParallelSize: 2}
inference: {serviceName: tiny, serviceNamespace: models, accelerator: gpu, framework: lws-vllm}
deployment: {replicas: 1, resources: {gpu: {limits: {nvidia.com/gpu: 1}, requests: {nvidia.com/gpu: 1}}}}
"""
KSERVE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: tiny
  annotations: {serving.kserve.io/deploymentMode: RawDeployment, serving.kserve.io/autoscalerClass: external}
spec:
  predictor:
    model:
      modelFormat: {name: huggingface}
      storageUri: pvc://models/tiny
      args: [--max-model-len=128]
    workerSpec: {pipelineParallelSize: 2, tensorParallelSize: 1}
"""
OPENSHIFT_AI = KSERVE.replace("{name: huggingface}", "{name: vLLM}\n      runtime: vllm-multinode-runtime")
LLMISVC = """
apiVersion: serving.kserve.io/v1alpha1
kind: LLMInferenceService
metadata: {name: tiny}
spec:
  model: {uri: pvc://models/tiny, name: tiny}
  parallelism: {tensor: 1, pipeline: 2}
  template:
    containers:
    - name: main
      env: [{name: VLLM_ADDITIONAL_ARGS, value: --max-model-len 128}]
      resources: {limits: {nvidia.com/gpu: "1"}}
"""
LWS = """
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {name: tiny}
spec:
  replicas: 1
  leaderWorkerTemplate:
    size: 2
    leaderTemplate: &template
      spec:
        containers:
        - name: vllm
          image: vllm/vllm-openai:latest
          command: [sh, -c, "vllm serve /models/tiny --served-model-name tiny --port 8080 --max-model-len 128
            --tensor-parallel-size 1 --pipeline-parallel-size 2"]
          resources: {limits: {nvidia.com/gpu: "1"}}
          volumeMounts: [{name: models, mountPath: /models}]
        volumes: [{name: models, persistentVolumeClaim: {claimName: models}}]
    workerTemplate: *template
"""
RAY = """
apiVersion: ray.io/v1
kind: RayService
metadata: {name: tiny}
spec:
  serveConfigV2: |
    applications:
    - name: llm
      import_path: ray.serve.llm:build_openai_app
      args:
        llm_configs:
        - model_loading_config: {model_id: tiny, model_source: example/tiny}
          engine_kwargs: {tensor_parallel_size: 1, pipeline_parallel_size: 2, max_model_len: 128}
          deployment_config: {num_replicas: 1}
"""
PYTHON = """
from ray import serve
from vllm import LLM


@serve.deployment(num_replicas=1, ray_actor_options={"num_gpus": 1})
class Tiny:
    def __init__(self):
        self.llm = LLM("example/tiny", tensor_parallel_size=1, pipeline_parallel_size=2, max_model_len=128)
"""
SOURCES: Mapping[str, tuple[str, str]] = {
    "kaito": ("workspace.yaml", KAITO),
    "oci": ("recipe.json", OCI),
    "eks": ("values.yaml", EKS),
    "kserve": ("service.yaml", KSERVE),
    "openshift-ai": ("service.yaml", OPENSHIFT_AI),
    "llmisvc": ("service.yaml", LLMISVC),
    "lws": ("set.yaml", LWS),
    "ray-serve": ("service.yaml", RAY),
    "ray-python": ("serve.py", PYTHON),
}


def converted(name: str, folder: Path) -> Path:
    """The manifests of a source; what the report leaves to the user here is the size of an unknown model."""
    file, text = SOURCES[name]
    (folder / file).write_text(text)
    out = folder / "out"
    assert run(["convert", str(folder / file), "--out", str(out)]) in (ExitCode.OK, ExitCode.NOT_CARRIED)
    if not (out / "manifests").exists():
        assert "model.size" in (out / "report.md").read_text()
        spec = out / "deployment.yaml"
        spec.write_text(spec.read_text().replace("model:\n", "model:\n  size: 1Gi\n", 1))
        assert run(["render", "-f", str(spec), "--out", str(out / "manifests")]) == ExitCode.OK
    return out / "manifests"


def bodies_of(folder: Path) -> list[dict[str, Any]]:
    return [dict(document.body) for document in read([str(folder)])]


def pods_of(bodies: list[dict[str, Any]], model: Path, folder: Path) -> list[PodSpec]:
    """The pods that KServe makes of some manifests, for the local runner."""

    def files(kind: str, name: str) -> Mapping[str, bytes] | None:
        made = next((one for one in bodies if one["metadata"]["name"] == name), None)
        if made is None:
            return None
        # The Secret is empty until the Job has filled it.
        return {"token": b"a" * 64} if kind == "secrets" else _content(made)

    service = next(one for one in bodies if one["kind"] == "InferenceService")
    uri = service["spec"]["predictor"]["model"]["storageUri"].removeprefix("pvc://")
    claim, _, path = uri.partition("/")
    root = folder / "claim"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).symlink_to(model)
    found = preview(bodies, DEFAULT).objects
    services = [one["metadata"]["name"] for one in found if one["kind"] == "Service"]
    specs = []
    for number, pod in enumerate(one for one in found if one["kind"] == "Pod"):
        [container] = pod["spec"]["containers"]
        is_head = container["name"] == "kserve-container"
        node = "head" if is_head else f"worker-{number}"
        pod["metadata"] = {**pod["metadata"], "name": node, "namespace": "default"}
        values, later = environment.variables(pod, container, {**image(), env.ACCELERATOR: "cpu"}, files)
        names = [one for one in services if f"-{'head' if is_head else 'workers'}-" in one]
        specs.append(
            PodSpec(
                node=node,
                role="head" if is_head else "worker",
                generate_name=f"{node}-",
                argv=environment.command_line(container, values),
                env=values,
                fields=later,
                mounts=volumes.mounts(pod, container, {claim: root}, folder / node, files),
                services=tuple(f"{one}{end}" for one in names for end in ("", ".default", ".default.svc")),
            )
        )
    return specs


def _content(made: Mapping[str, Any]) -> Mapping[str, bytes]:
    return {key: base64.b64decode(value) for key, value in mapping(made, "binaryData").items()}


@pytest.mark.parametrize("name", SOURCES)
def test_a_converted_service_answers(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, made_model: Path, start: Start
) -> None:
    if not request.config.getoption("--all-versions"):
        pytest.skip("some 30 s for each system; --all-versions runs them")
    pods = pods_of(bodies_of(converted(name, tmp_path)), made_model, tmp_path)
    assert [pod.role for pod in pods] == ["head", "worker"]
    group = start(pods)
    group.wait_for("serving", seconds=PATIENCE)
    answer = eventually(lambda: group.ask(tokens=4), PATIENCE, group.shown)
    assert answer.text
    models = group.api("/v1/models")["data"]
    assert [model["max_model_len"] for model in models] == [128]
    assert "-pp2-" in answer.fingerprint
