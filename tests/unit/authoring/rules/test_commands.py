"""Sizes on other people's command lines: words, shell strings, variables; and images that nobody can pull."""

from typing import Any

import pytest

from unit.authoring.rules.examples import base, documents
from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.rules import validate
from vllm_multinode.authoring.rules.commands import sizes
from vllm_multinode.authoring.rules.model import named_model
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.k8s.documents import from_text
from vllm_multinode.platforms.releases import DEFAULT


@pytest.mark.parametrize(
    ("container", "asked"),
    [
        pytest.param(
            {"command": ["vllm", "serve", "m"], "args": ["-tp", "4", "--pipeline-parallel-size=2"]},
            {"tensor": 4, "pipeline": 2},
            id="words",
        ),
        pytest.param(
            {
                "command": [
                    "bash",
                    "-c",
                    'ray start --head --num-gpus=8\nvllm serve m \\\n  -tp "8"  # it\'s all',
                ]
            },
            {"ray_gpus": 8, "tensor": 8},
            id="shell",
        ),
        pytest.param(
            {"command": ["sh", "-c", "python3 -m x --tensor_parallel_size 8 --nnodes ${LWS_GROUP_SIZE}"]},
            {"tensor": 8, "nodes": 2},
            id="underscores-and-group-size",
        ),
        pytest.param(
            {"args": ["--tensor-parallel-size=$(TP)"], "env": [{"name": "TP", "value": "2"}]},
            {"tensor": 2},
            id="variable",
        ),
        pytest.param({"args": ["--tensor-parallel-size=$(TP)"]}, {}, id="variable-of-others"),
        pytest.param({"args": ["--data-parallel-size $((LWS_GROUP_SIZE * 2))"]}, {}, id="arithmetic"),
        pytest.param({"args": ["bash -c 'unclosed --tensor-parallel-size 3"]}, {"tensor": 3}, id="no-shell"),
        pytest.param({"args": ["--tensor-parallel-size"]}, {}, id="no-value"),
        pytest.param({"command": "text", "args": [1, None], "env": 7}, {}, id="other-types"),
    ],
)
def test_sizes(container: dict[str, Any], asked: dict[str, int]) -> None:
    assert {name: one.value for name, one in sizes(container, 2).items()} == asked


@pytest.mark.parametrize(
    ("image", "rule"),
    [
        pytest.param("quay.io/org/vllm:1", "", id="whole"),
        pytest.param("quay.io/org/vllm@sha256:" + "a" * 64, "", id="digest"),
        pytest.param("registry.corp:5000/vllm:1", "", id="port"),
        pytest.param("vllm/vllm-openai:v0.10.0", "image-registry", id="no-registry"),
        pytest.param("vllm-multinode:1", "image-unpullable", id="no-owner"),
        pytest.param("localhost/vllm:1", "image-unpullable", id="this-node"),
        pytest.param("$(vllm-cuda-image)", "image-unpullable", id="placeholder-without-a-tag"),
        pytest.param("quay.io/your-org/vllm", "image-unpullable", id="placeholder-owner-without-a-tag"),
        pytest.param("quay.io/org/vllm", "image-latest", id="no-tag"),
        pytest.param("quay.io/org/vllm:latest", "image-latest", id="latest"),
        pytest.param("$(vllm-image)", "image-unpullable", id="placeholder"),
        pytest.param("huggingfaceserver:replace", "image-unpullable", id="replaced-by-a-chart"),
        pytest.param("quay.io/Org/vllm:1", "image-unpullable", id="upper-case"),
        pytest.param("registry.example.com/vllm:1", "image-unpullable", id="documentation"),
    ],
)
def test_images(image: str, rule: str) -> None:
    group = base()["group"]
    template = group["spec"]["leaderWorkerTemplate"]
    container = {**template["workerTemplate"]["spec"]["containers"][0], "image": image}
    worker = {"spec": {**template["workerTemplate"]["spec"], "containers": [container]}}
    body = {
        **group,
        "spec": {**group["spec"], "leaderWorkerTemplate": {**template, "workerTemplate": worker}},
    }
    found = {one.rule for one in validate(documents([body]), [DEFAULT])}
    assert found & {"image-latest", "image-registry", "image-unpullable"} == ({rule} if rule else set())


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        pytest.param(
            ["pvc://m/meta-llama/Llama-3.1-8B-Instruct"], "meta-llama/Llama-3.1-8B-Instruct", id="two"
        ),
        pytest.param(["pvc://m/llama-3.1-8b-instruct"], "llama-3.1-8b-instruct", id="one"),
        pytest.param(["pvc://m/some-model"], None, id="unknown"),
        pytest.param(["pvc://m"], None, id="no-folder"),
        pytest.param(["pvc://m/llama-3.1-8b-instruct", "pvc://m/llama-3.3-70b-instruct"], None, id="several"),
    ],
)
def test_the_model_that_a_folder_names(sources: list[str], name: str | None) -> None:
    text = "---\n".join(
        "{apiVersion: a, kind: InferenceService, "
        f"spec: {{predictor: {{model: {{storageUri: '{one}'}}}}}}}}\n"
        for one in sources
    )
    model = named_model(from_text(text, "f"))
    assert (model.name if model else None) == name


@pytest.mark.parametrize(
    ("image", "lines"),
    [
        pytest.param("quay.io/org/vllm-multinode:1", 0, id="every-service-brings-its-own"),
        pytest.param(None, 2, id="the-runtime-s-is-pulled"),
    ],
)
def test_an_image_of_a_runtime_that_no_service_pulls_is_passed_over(image: str | None, lines: int) -> None:
    given = {
        "name": "llm",
        "model": {"claim": "models", "path": "llm"},
        "parallelism": {"tensor": 8, "pipeline": 2},
        "runtime": {"install": "image"},
        **({"image": image} if image else {}),
    }
    bodies = list(render(DeploymentSpec.model_validate(given), DEFAULT).documents)
    found = [one for one in validate(documents(bodies), [DEFAULT]) if one.rule == "image-unpullable"]
    of_runtime = [one for one in found if one.document is not None and one.document.kind == "ServingRuntime"]
    assert len(of_runtime) == lines, found
