"""The node shapes: every entry is sound, and names an accelerator of the catalogue."""

from collections import Counter

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.catalogue import accelerator, names, shape

ALL = names("shape")


def test_every_cloud_and_servers_are_there() -> None:
    assert Counter(shape(name).provider for name in ALL).keys() == {"aws", "azure", "gcp", "oci", "server"}


@pytest.mark.parametrize("name", ALL)
def test_is_sound(name: str) -> None:
    entry = shape(name)
    assert accelerator(entry.accelerator).name == entry.accelerator
    assert entry.accelerators in (1, 2, 4, 8, 16)
    for field in ("memory_gib", "vcpus"):
        assert getattr(entry, field) is not None or field in entry.unconfirmed
    if entry.memory_gib is not None:
        assert 4 <= entry.memory_gib / entry.accelerators <= 1024
    if entry.rdma and entry.network_gbps is not None:
        assert entry.network_gbps >= 20


@pytest.mark.parametrize(
    ("name", "holds", "count"),
    [
        pytest.param("p4d.24xlarge", "A100-SXM-40GB", 8, id="aws-p4d"),
        pytest.param("p4de.24xlarge", "A100-SXM-80GB", 8, id="aws-p4de"),
        pytest.param("P5.48XLARGE", "H100-SXM-80GB", 8, id="aws-in-capitals"),
        pytest.param("g6.24xlarge", "L4", 4, id="aws-g6"),
        pytest.param("Standard_ND96asr_A100_v4", "A100-SXM-40GB", 8, id="azure-as-kaito-writes-it"),
        pytest.param("Standard_NC80adis_H100_v5", "H100-NVL-94GB", 2, id="azure-nvl"),
        pytest.param("a3-ultragpu-8g", "H200-SXM-141GB", 8, id="gcp-h200"),
        pytest.param("BM.GPU.A10.4", "A10", 4, id="oci-a10"),
        pytest.param("BM.GPU.MI300X.8", "MI300X", 8, id="oci-amd"),
        pytest.param("DGX-H100", "H100-SXM-80GB", 8, id="server"),
    ],
)
def test_holds_what_the_provider_says(name: str, holds: str, count: int) -> None:
    entry = shape(name)
    assert (entry.accelerator, entry.accelerators) == (holds, count)


def test_multi_node_shapes_have_a_fabric() -> None:
    """EFA is counted as RDMA; the small sizes of a family do without."""
    assert shape("p5.48xlarge").rdma
    assert shape("p5.48xlarge").network_gbps == 3200
    assert not shape("g5.xlarge").rdma


def test_an_unknown_shape_offers_close_ones() -> None:
    with pytest.raises(MultinodeError) as refusal:
        shape("p5.24xlarge")
    assert refusal.value.code is ExitCode.USAGE
    assert "24xlarge" in refusal.value.hint
