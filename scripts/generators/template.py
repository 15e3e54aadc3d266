"""manifests/template: the OpenShift Template, made of a leaf with parameters in place of its values."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from generators.repository import MANIFESTS, ROOT, Files
from vllm_multinode.authoring.render.images import RELEASED
from vllm_multinode.authoring.render.names import SHARED_MEMORY
from vllm_multinode.authoring.render.runtime import DEFAULT_SHARED_MEMORY
from vllm_multinode.k8s.emit import to_yaml
from vllm_multinode.k8s.kustomize import build
from vllm_multinode.platforms.names import AUTOSCALER_CLASS

# The leaf that the Template is made of, and what in it is a parameter: name, default, description.
LEAF = ROOT / "overlays/llama-3.3-70b"
WHOLE = {"nodeAffinity": "${{NODE_AFFINITY}}", "tolerations": "${{TOLERATIONS}}"}
SIZES = {
    "tensorParallelSize": "${{TENSOR_PARALLEL_SIZE}}",
    "pipelineParallelSize": "${{PIPELINE_PARALLEL_SIZE}}",
}
TOLERATIONS = '[{"key":"nvidia.com/gpu","operator":"Exists","effect":"NoSchedule"}]'
NODE_AFFINITY = json.dumps(
    {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchExpressions": [
                        {
                            "key": "nvidia.com/gpu.product",
                            "operator": "In",
                            "values": ["NVIDIA-A100-80GB-PCIe", "NVIDIA-A100-SXM4-80GB"],
                        }
                    ]
                }
            ]
        }
    },
    separators=(",", ":"),
)
IMAGE = (
    "Image of vLLM. OpenShift AI's own: oc get template vllm-multinode-runtime-template -n redhat-ods-applications "
    "-o jsonpath='{.objects[0].spec.containers[0].image}'."
)
SOURCE = "The model: hf://, s3:// or oci://. A gated one wants the Secret hf-token with the key token."
PARAMETERS = (
    ("NAME", "llama-3-3-70b", "Begins the names of all objects; the InferenceService is NAME-vllm."),
    ("NAMESPACE", "", "Project that the objects go to."),
    ("SOURCE", "hf://meta-llama/Llama-3.3-70B-Instruct", SOURCE),
    ("CLAIM_SIZE", "146Gi", "Of the claim NAME-models: a tenth more than the weights."),
    ("MODEL_PATH", "llama-3.3-70b-instruct", "Folder of the model in the claim."),
    ("TENSOR_PARALLEL_SIZE", "2", "TP: ranks that share each layer; at best the GPUs of a node."),
    ("PIPELINE_PARALLEL_SIZE", "2", "PP: stages of consecutive layers; at best the number of nodes."),
    ("ACCELERATOR", "cuda", "cuda, rocm, xpu, gaudi or cpu; IMAGE must be made for it."),
    ("GPU_TYPE", "nvidia.com/gpu", "Resource: nvidia.com/gpu, amd.com/gpu or habana.ai/gaudi."),
    ("GPU_COUNT", "2", "Of them in each pod."),
    ("AUTOSCALER_CLASS", "none", "none; external on OpenShift AI 2.16 to 2.22."),
    ("CONTEXT", "131072", "Tokens of a request, prompt and answer (--max-model-len)."),
    ("IMAGE", RELEASED["nvidia"], IMAGE),
    ("SHARED_MEMORY", DEFAULT_SHARED_MEMORY, "Size of /dev/shm."),
    (
        "NODE_AFFINITY",
        NODE_AFFINITY,
        "JSON of the nodes' affinity, for head and workers: their GPUs; {} for any.",
    ),
    ("TOLERATIONS", TOLERATIONS, "JSON list of tolerations, for head and workers; [] for none."),
)


def files() -> Files:
    """The OpenShift Template: LEAF as kustomize builds it, with parameters in place of its values."""
    values = {name: default for name, default, _ in PARAMETERS}
    objects = [parametrised(one, values) for one in yaml.safe_load_all(on_openshift(LEAF))]
    for one in objects:
        one["metadata"]["namespace"] = "${NAMESPACE}"
    made = {
        "apiVersion": "template.openshift.io/v1",
        "kind": "Template",
        "metadata": {
            "name": "vllm-multinode",
            "annotations": {
                "openshift.io/display-name": "vLLM over several nodes",
                "description": "One vLLM engine over several nodes, on KServe.",
                "tags": "kserve,vllm,multi-node",
            },
        },
        "message": "oc get inferenceservice ${NAME}-vllm -n ${NAMESPACE} shows when it is ready.",
        "parameters": [
            {"name": name, "description": words, "required": True} | ({"value": value} if value else {})
            for name, value, words in PARAMETERS
        ],
        "objects": objects,
    }
    header = f"# Written by scripts/generate from {LEAF.relative_to(ROOT)}.\n"
    return {MANIFESTS / "template/template.yaml": header + to_yaml([made])}


def on_openshift(leaf: Path) -> str:
    """A leaf as kustomize builds it with the component openshift."""
    with tempfile.TemporaryDirectory() as folder:
        up = os.path.relpath("/", Path(folder).resolve())
        content = {"resources": [f"{up}{leaf}"], "components": [f"{up}{MANIFESTS / 'components/openshift'}"]}
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(content))
        return build(Path(folder))


def parametrised(value: Any, values: Mapping[str, str], path: tuple[str, ...] = ()) -> Any:
    """One object of the leaf with ${PARAMETER} where a parameter's value stands."""
    last = path[-1] if path else ""
    if last in WHOLE:
        return WHOLE[last]
    if "predictor" in path and last in SIZES:
        return SIZES[last]
    if isinstance(value, dict) and value.get("name") == SHARED_MEMORY and "emptyDir" in value:
        return value | {"emptyDir": value["emptyDir"] | {"sizeLimit": "${SHARED_MEMORY}"}}
    if isinstance(value, dict):
        return {
            "${GPU_TYPE}" if key == values["GPU_TYPE"] else key: parametrised(one, values, (*path, key))
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [parametrised(one, values, path) for one in value]
    if not isinstance(value, str):
        return value
    whole = {values[name]: f"${{{name}}}" for name in ("IMAGE", "ACCELERATOR", "SOURCE", "CLAIM_SIZE")}
    if last == AUTOSCALER_CLASS:
        return "${AUTOSCALER_CLASS}"
    if last == values["GPU_TYPE"]:
        return "${GPU_COUNT}"
    for was, becomes in (
        (f"models/{values['MODEL_PATH']}", "models/${MODEL_PATH}"),
        (f"--max-model-len={values['CONTEXT']}", "--max-model-len=${CONTEXT}"),
        (f"{values['NAME']}-", "${NAME}-"),
    ):
        value = value.replace(was, becomes)
    return whole.get(value, value)
