"""Releases of vLLM are records: each behaviour is there from one version on."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.versions import IMAGE
from vllm_multinode.engines.vllm import VLLM, removed, unread, vllm, vllm_named
from vllm_multinode.plugin import CPU_PLATFORMS


def test_the_table_is_in_order() -> None:
    since = [entry.since for entry in VLLM]
    assert since == sorted(since)
    assert len(set(since)) == len(since)


@pytest.mark.parametrize(
    ("version", "key", "module"),
    [
        pytest.param("0.10.1", "level", "vllm.executor.ray_utils", id="oldest"),
        pytest.param("0.11.0", "level", "vllm.executor.ray_utils", id="0.11.0"),
        pytest.param("0.11.1", "mode", "vllm.v1.executor.ray_utils", id="0.11.1"),
        pytest.param("0.20.2", "mode", "vllm.v1.executor.ray_utils", id="v2-not-yet-the-default"),
        pytest.param("0.21.0", "mode", "vllm.v1.executor.ray_executor_v2", id="v2"),
        pytest.param("none", "mode", "vllm.v1.executor.ray_executor_v2", id="untold"),
    ],
)
def test_what_a_version_does(version: str, key: str, module: str) -> None:
    found = vllm(version)
    assert (found.compilation_key, found.ray_actor_module) == (key, module)


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
    assert (getattr(vllm_named(before), behaviour), getattr(vllm_named(since), behaviour)) == values


@pytest.mark.parametrize("name", ["0.18.0", "v0.18.0", "0.18.1.dev3+g1234", "0.18"])
def test_what_follows_the_second_number_does_not_count(name: str) -> None:
    found = vllm_named(name)
    assert found.name == name.removeprefix("v")
    assert not found.sorts_to_sample
    assert not found.deducts_graphs


@pytest.mark.parametrize("name", ["", "latest", "0", "1..2", "0.x"])
def test_what_is_no_version_is_one_line(name: str) -> None:
    with pytest.raises(MultinodeError) as refusal:
        vllm_named(name)
    assert refusal.value.code is ExitCode.USAGE


def test_the_default_is_what_the_image_carries() -> None:
    container = Path(__file__).parents[3] / "runtime" / "Containerfile"
    assert f"ARG VLLM=v{IMAGE}\n" in container.read_text()


def test_a_removed_option_has_its_advice_only_where_it_is_removed() -> None:
    assert removed("--disable-log-requests", "0.16.0") is None
    assert "--enable-log-requests" in (removed("--disable-log-requests", "0.17.0") or "")
    assert removed("--dtype", "0.32.0") is None


def test_each_cpu_platform_is_there() -> None:
    assert {entry.cpu_plugin for entry in VLLM} == set(CPU_PLATFORMS)
    for path in CPU_PLATFORMS.values():
        module, _, name = path.rpartition(".")
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        assert f"class {name}(" in Path(spec.origin).read_text()


@pytest.mark.parametrize(
    ("version", "says"),
    [
        pytest.param("0.99.0", "newer than 0.33", id="newer"),
        pytest.param("0.9.2", "older than 0.10.1", id="older"),
        pytest.param("0.10.1", "", id="oldest"),
        pytest.param("0.33.4", "", id="newest"),
    ],
)
def test_a_version_whose_source_was_not_read_is_said(version: str, says: str) -> None:
    assert (says in unread(vllm_named(version))) if says else unread(vllm_named(version)) == ""
