"""The accelerators: every entry is sound, and its figures belong together."""

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.catalogue import accelerator, names

ALL = names("accelerator")


def test_there_are_at_least_forty() -> None:
    assert len(ALL) >= 40


@pytest.mark.parametrize("name", ALL)
def test_figures_are_plausible(name: str) -> None:
    entry = accelerator(name)
    assert entry.name == name
    if entry.family == "cpu":
        assert entry.memory_gib is None
        return
    assert entry.memory_gb is not None
    assert entry.memory_gib is not None
    # The printed size counts in either unit, and a driver keeps some for itself (ECC up to a sixteenth).
    assert 0.85 * entry.memory_gb <= entry.memory_gib <= 1.03 * entry.memory_gb
    if entry.bandwidth_gbs is not None:
        # What reads its whole memory fewer than eight times a second or more than 110 has a slip in a unit.
        assert (1 if entry.unified else 8) <= entry.bandwidth_gbs / entry.memory_gb <= 110
        assert (entry.interconnect_gbs or 0) < entry.bandwidth_gbs
    if entry.interconnect_gbs is not None:
        assert 15 <= entry.interconnect_gbs <= 1000
    assert not (entry.fp4 and not entry.fp8)


@pytest.mark.parametrize("name", ALL)
def test_an_absent_figure_is_explained(name: str) -> None:
    entry = accelerator(name)
    if entry.family == "cpu":
        return
    for field in ("driver_mib", "bandwidth_gbs", "interconnect_gbs"):
        assert getattr(entry, field) is not None or field in entry.unconfirmed
    assert entry.confirmed == (not entry.unconfirmed)


@pytest.mark.parametrize("name", [name for name in ALL if accelerator(name).vendor == "nvidia"])
def test_formats_follow_the_compute_capability(name: str) -> None:
    entry = accelerator(name)
    assert entry.compute_capability is not None
    capability = tuple(int(part) for part in entry.compute_capability.split("."))
    assert entry.fp8 == (capability >= (8, 9))
    assert entry.fp4 == (capability >= (10, 0))
    assert entry.resource == "nvidia.com/gpu"
    if capability < (8, 0):
        assert entry.bf16_tflops is None
        assert entry.fp16_tflops is not None


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        pytest.param("NVIDIA-H100-80GB-HBM3", "H100-SXM-80GB", id="product-label"),
        pytest.param("nvidia h100_80gb hbm3", "H100-SXM-80GB", id="driver-name"),
        pytest.param("h200", "H200-SXM-141GB", id="alias-in-lower-case"),
        pytest.param("AMD_Instinct_MI300X_OAM", "MI300X", id="label-of-amd"),
        pytest.param(" l4 ", "L4", id="blanks-around"),
        pytest.param("L40", "L40", id="a-name-that-begins-another"),
    ],
)
def test_is_found_by_any_of_its_names(asked: str, found: str) -> None:
    assert accelerator(asked).name == found


@pytest.mark.parametrize(
    ("asked", "offered"),
    [
        pytest.param("A100", ("A100-SXM-40GB", "A100-SXM-80GB"), id="two-sizes-of-memory"),
        pytest.param("H1000", ("H100",), id="a-slip-of-the-finger"),
    ],
)
def test_an_unknown_name_offers_close_ones(asked: str, offered: tuple[str, ...]) -> None:
    with pytest.raises(MultinodeError) as refusal:
        accelerator(asked)
    assert refusal.value.code is ExitCode.USAGE
    assert asked in refusal.value.what
    assert all(name in refusal.value.hint for name in offered)


@pytest.mark.parametrize("asked", ["", "zzz"])
def test_nothing_is_offered_where_nothing_is_close(asked: str) -> None:
    with pytest.raises(MultinodeError) as refusal:
        accelerator(asked)
    assert refusal.value.hint == "`multinode gpus` lists all."


def test_the_driver_reports_less_than_an_h100_prints() -> None:
    """The example that shows why the printed size must not be used: 80 GB are 79.6 GiB."""
    assert accelerator("H100").memory_gib == pytest.approx(79.65, abs=0.01)
