"""Versions of vLLM are records: each behaviour is there from one version on."""

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.planner.engine_versions import DEFAULT, engine_version


@pytest.mark.parametrize(
    ("behaviour", "before", "since", "values"),
    [
        pytest.param("sorts_to_sample", "0.16.0", "0.17.0", (True, False), id="sampler"),
        pytest.param("keeps_expert_workspace", "0.13.0", "0.14.1", ("no", "yes"), id="experts"),
        pytest.param("keeps_expert_workspace", "0.11.2", "0.12.0", ("fp8", "no"), id="experts-of-old"),
        pytest.param("deducts_graphs", "0.19.1", "0.20.0", (False, True), id="graphs"),
        pytest.param("runner_v2", "0.28.0", "0.29.0", ("dense", "everything"), id="runner"),
        pytest.param("measures_free_memory", "0.26.0", "0.27.1", (False, True), id="free-memory"),
    ],
)
def test_a_behaviour_begins_with_a_version(
    behaviour: str, before: str, since: str, values: tuple[object, object]
) -> None:
    assert (getattr(engine_version(before), behaviour), getattr(engine_version(since), behaviour)) == values


@pytest.mark.parametrize("name", ["0.18.0", "v0.18.0", "0.18.1.dev3+g1234", "0.18"])
def test_what_follows_the_second_number_does_not_count(name: str) -> None:
    found = engine_version(name)
    assert found.name == name.removeprefix("v")
    assert not found.sorts_to_sample
    assert not found.deducts_graphs


@pytest.mark.parametrize("name", ["", "latest", "0", "1..2", "0.x"])
def test_what_is_no_version_is_one_line(name: str) -> None:
    with pytest.raises(MultinodeError) as refusal:
        engine_version(name)
    assert refusal.value.code is ExitCode.USAGE


def test_the_default_is_what_the_image_carries() -> None:
    from pathlib import Path

    container = Path(__file__).parents[4] / "runtime" / "Containerfile"
    assert f"ARG VLLM=v{DEFAULT}\n" in container.read_text()
