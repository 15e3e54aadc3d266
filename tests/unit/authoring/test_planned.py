"""A plan as a deployment spec: what `render` reads back is what was planned."""

from dataclasses import replace
from typing import Any

import pytest

from unit.sizing.models import config, request, small
from vllm_multinode.authoring.planned import model_name, service_name, spec_of, spec_text
from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.spec import DeploymentSpec, loads
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.catalogue import names
from vllm_multinode.sizing.planner.choice import Plan
from vllm_multinode.sizing.planner.plan import choose
from vllm_multinode.sizing.planner.request import find_gpu


def plan(name: str = "llama-3.3-70b", **fields: Any) -> Plan:
    found = config(name)
    return choose(request(found, **{"context": 8192, **fields}))


def written(made: Plan, **fields: Any) -> DeploymentSpec:
    return loads(spec_text(spec_of(made, **fields), made))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="one-node"),
        pytest.param({"gpus_per_node": 1}, id="nodes-of-one"),
        pytest.param({"gpus_per_node": 2, "gib": 48}, id="nodes-of-two"),
        pytest.param({"gpus_per_node": 2, "gib": 48, "executor": "mp"}, id="mp"),
    ],
)
def test_what_is_read_back_is_what_was_planned(fields: dict[str, Any]) -> None:
    made = plan(**fields)
    best = made.best
    assert best is not None
    spec = written(made)
    assert (spec.parallelism.tensor, spec.parallelism.pipeline) == (
        best.tensor_parallel, best.pipeline_parallel,
    )  # fmt: skip
    if made.request.executor == "ray":
        assert (spec.nodes, spec.per_node) == (best.nodes, best.gpus_per_node)
    else:
        assert (spec.nodes, spec.per_node) == (best.pipeline_parallel, best.tensor_parallel)
    assert spec.context == 8192
    assert spec.model.size == "132Gi"
    assert spec.startup is None
    assert render(spec).files


def test_only_what_differs_from_the_defaults_is_an_argument() -> None:
    assert not written(plan(gib=96)).arguments
    spec = written(plan(kv_dtype="fp8", utilization=0.8, concurrency=2000, gpus_per_node=8))
    assert spec.arguments == {
        "gpu-memory-utilization": 0.8, "kv-cache-dtype": "fp8", "max-num-batched-tokens": 8192,
        "max-num-seqs": 2000,
    }  # fmt: skip


def test_a_slow_claim_gets_a_longer_start() -> None:
    made = plan(claim_gbs=0.1)
    assert made.best is not None
    assert written(made).startup == 600 + made.best.speed.startup_seconds


def test_name_claim_and_path_as_asked() -> None:
    spec = written(plan(), name="llama", claim="weights", path="hub/llama")
    assert (spec.name, spec.model.claim, spec.model.path) == ("llama", "weights", "hub/llama")


@pytest.mark.parametrize(
    ("gpu", "kind", "resource"),
    [
        pytest.param("H100", "nvidia", None, id="nvidia"),
        pytest.param("MI300X", "amd", None, id="amd"),
        pytest.param("Gaudi3", "gaudi", None, id="gaudi"),
        pytest.param("Arc-Pro-B60", "intel", "gpu.intel.com/xe", id="intel-xe"),
    ],
)
def test_the_accelerators_resource(gpu: str, kind: str, resource: str | None) -> None:
    asked = replace(request(small(), context=512), gpu=find_gpu(gpu)[0])
    spec = written(choose(asked))
    assert (spec.accelerator.type, spec.accelerator.resource) == (kind, resource)


@pytest.mark.parametrize("name", names("model"))
def test_every_model_of_the_catalogue_has_a_name_that_kubernetes_takes(name: str) -> None:
    spec = spec_of(plan(), name=service_name(model_name(name)), path=model_name(name))
    assert spec.name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        pytest.param("meta-llama/Llama-3.3-70B-Instruct", "llama-3-3-70b-instruct", id="hub"),
        pytest.param("/data/models/My_Model/", "my-model", id="folder"),
        pytest.param("/data/DeepSeek/config.json", "deepseek", id="configuration"),
        pytest.param("01-ai/34B", "m-34b", id="digit-first"),
        pytest.param(".", "model", id="here"),
        pytest.param("x" * 90, "x" * 40, id="long"),
        pytest.param("模型", "model", id="no-letters"),
    ],
)
def test_names(given: str, name: str) -> None:
    assert service_name(model_name(given)) == name


def test_what_does_not_fit_has_no_spec() -> None:
    with pytest.raises(MultinodeError, match=r"the smallest that would: 4 nodes x 1 GPU") as caught:
        spec_of(plan(gpus_per_node=4, node_gpus=(1,), gib=48))
    assert caught.value.code is ExitCode.DOES_NOT_FIT


def test_a_name_that_cannot_be_is_one_line() -> None:
    with pytest.raises(MultinodeError, match="name") as caught:
        spec_of(plan(), name="Not A Name")
    assert caught.value.code is ExitCode.SPEC
