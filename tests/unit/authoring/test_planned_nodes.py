"""A plan for named nodes as a deployment spec: it runs on these nodes, with what they have."""

from typing import Any

import pytest

from vllm_multinode.authoring.planned import spec_of, spec_text
from vllm_multinode.authoring.render import render
from vllm_multinode.authoring.spec import DeploymentSpec, loads
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.model.sources import find_model
from vllm_multinode.sizing.planner.choice import Plan
from vllm_multinode.sizing.planner.plan import choose
from vllm_multinode.sizing.planner.request import Request, Settings, find_gpu

INSTANCE_TYPE = "node.kubernetes.io/instance-type"


def planned(model: str, gpu: str, **fields: Any) -> Plan:
    accelerator, in_shape, _ = find_gpu(gpu)
    request = Request(
        source=find_model(model), gpu=accelerator, gpus_per_node=in_shape or 8, context=8192,
        shape=catalogue.find("shape", gpu), **fields,
    )  # fmt: skip
    return choose(request)


def written(plan: Plan, **fields: Any) -> DeploymentSpec:
    return loads(spec_text(spec_of(plan, **fields), plan))


def selector(spec: DeploymentSpec) -> dict[str, str]:
    return dict(spec.placement.node_selector or {})


def test_a_gpu_becomes_its_nodes_label() -> None:
    spec = written(planned("gpt-oss-20b", "H100"))
    assert spec.accelerator.product == "NVIDIA-H100-80GB-HBM3"
    assert selector(spec) == {}


def test_a_gpu_whose_nodes_have_several_labels_gets_none() -> None:
    assert written(planned("gpt-oss-20b", "GH200")).accelerator.product is None


def test_a_clouds_shape_becomes_a_selector() -> None:
    spec = written(planned("gpt-oss-20b", "p5.48xlarge"))
    assert selector(spec) == {INSTANCE_TYPE: "p5.48xlarge"}
    assert spec.accelerator.product is None


def test_a_servers_shape_becomes_the_gpus_label() -> None:
    spec = written(planned("gpt-oss-20b", "DGX-H200"))
    assert (selector(spec), spec.accelerator.product) == ({}, "NVIDIA-H200")


def test_taints_and_a_shape_go_together() -> None:
    plan = planned("gpt-oss-20b", "p5.48xlarge")
    spec = spec_of(plan, taints=[("nvidia.com/gpu", "", "NoSchedule")])
    assert selector(spec) == {INSTANCE_TYPE: "p5.48xlarge"}
    assert spec.placement.tolerations is not None


@pytest.mark.parametrize(
    ("model", "shape", "asked"),
    [
        pytest.param("deepseek-r1", "p5.48xlarge", ("vpc.amazonaws.com/efa", 32), id="aws"),
        pytest.param("deepseek-r1", "BM.GPU.H100.8", ("rdma/rdma_shared_device_ib", 1), id="oci"),
        pytest.param("deepseek-r1", "a3-highgpu-8g", None, id="without-rdma"),
        pytest.param("gpt-oss-20b", "p5.48xlarge", None, id="one-node"),
        pytest.param("deepseek-r1", "H100", None, id="no-shape"),
    ],
)
def test_rdma_where_several_nodes_have_it(model: str, shape: str, asked: tuple[str, int] | None) -> None:
    rdma = written(planned(model, shape)).network.rdma
    assert (rdma and (rdma.resource, rdma.count)) == asked


def test_a_pod_asks_for_cores_and_memory_of_its_ranks() -> None:
    spec = written(planned("llama-3.3-70b-instruct", "p5.48xlarge"))
    assert (spec.per_node, spec.shared_memory) == (2, "4Gi")
    assert (spec.resources.cpu, spec.resources.memory) == ("6", "20Gi")


def test_a_pod_asks_for_no_more_than_its_node_has() -> None:
    facts = catalogue.shape("g6.xlarge")
    spec = written(planned("llama-3.2-1b-instruct", "g6.xlarge"))
    assert facts.vcpus is not None
    assert int(spec.resources.cpu or 0) < facts.vcpus
    assert spec.resources.memory == "13Gi"


def test_the_weights_come_from_the_hub_into_a_claim_with_room_for_them() -> None:
    spec = written(planned("llama-3.3-70b-instruct", "H100"))
    assert spec.model.source == "hf://meta-llama/Llama-3.3-70B-Instruct"
    assert spec.model.create_claim is not None
    assert (spec.model.size, spec.model.create_claim.size) == ("132Gi", "146Gi")
    assert render(spec).files


def test_a_claim_that_is_there_is_used() -> None:
    spec = written(planned("llama-3.3-70b-instruct", "H100"), claim="weights")
    assert (spec.model.claim, spec.model.source) == ("weights", None)
    assert spec.model.path == "llama-3.3-70b-instruct"


def test_a_gated_model_says_what_it_needs() -> None:
    plan = planned("llama-3.3-70b-instruct", "H100")
    assert "model.sourceSecret" in spec_text(spec_of(plan), plan)
    plan = planned("gpt-oss-20b", "H100")
    assert "model.sourceSecret" not in spec_text(spec_of(plan), plan)


def test_what_was_planned_with_is_what_the_engine_gets() -> None:
    settings = Settings(eager=True, prefix_caching=False, block_size=32, text_only=True, whole_towers=True)
    spec = spec_of(planned("gpt-oss-20b", "H100", settings=settings), speculative='{"method": "mtp"}')
    assert spec.arguments == {
        "enforce-eager": True, "no-enable-prefix-caching": True, "block-size": 32,
        "language-model-only": True, "mm-encoder-tp-mode": "data", "speculative-config": '{"method": "mtp"}',
    }  # fmt: skip
