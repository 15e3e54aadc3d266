from importlib.util import find_spec
from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.engines import versions
from vllm_multinode.launcher.engines.versions import check_engine, parse, removed, vllm
from vllm_multinode.plugin import CPU_PLATFORMS


def test_the_table_is_in_order() -> None:
    since = [entry.since for entry in versions.VLLM]
    assert since == sorted(since)
    assert len(set(since)) == len(since)


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        pytest.param("0.10.1.1+rhai3", (0, 10, 1, 1), id="of-a-vendor"),
        pytest.param("0.11.1rc2.dev5+gabc", (0, 11, 1), id="before-a-release"),
        pytest.param("v0.9.1", (0, 9, 1), id="with-a-v"),
        pytest.param("0.1.dev1+g123", None, id="checkout-without-tags"),
        pytest.param("none", None, id="not-installed"),
    ],
)
def test_the_numbers_of_a_version(version: str, numbers: tuple[int, ...] | None) -> None:
    assert parse(version) == numbers


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
    ("version", "ray", "executor", "token", "word"),
    [
        pytest.param("0.10.0", "2.60.0", "ray", False, "vLLM 0.10.0 is too old", id="before-ray"),
        pytest.param("0.11.0", None, "mp", False, "MULTINODE_EXECUTOR=ray", id="before-nnodes"),
        pytest.param("0.9.1", None, "mp", False, "vLLM 0.11.1 or newer.", id="before-both"),
        pytest.param("0.34.0", "2.60.0", "ray", False, "newer than the newest", id="unread"),
        pytest.param("0.32.0", "2.51.1", "ray", True, "Ray 2.51.1 knows no token", id="token-ignored"),
    ],
)
def test_refused_by_name(
    version: str, ray: str | None, executor: ExecutorName, token: bool, word: str
) -> None:
    with pytest.raises(MultinodeError) as refused:
        check_engine(version, ray, executor, token=token)
    assert refused.value.code is ExitCode.ENGINE_VERSION
    assert word in str(refused.value)


@pytest.mark.parametrize(
    ("version", "ray", "executor", "token"),
    [
        pytest.param("0.10.1", "2.48.0", "ray", False, id="oldest-ray"),
        pytest.param("0.11.1", None, "mp", True, id="oldest-mp"),
        pytest.param("0.33.1", "2.52.0", "ray", True, id="newest-with-a-token"),
        pytest.param("0.32.0", "2.51.1", "mp", True, id="an-old-ray-that-is-not-used"),
        pytest.param("none", None, "ray", True, id="a-program-whose-version-nobody-knows"),
    ],
)
def test_taken(version: str, ray: str | None, executor: ExecutorName, token: bool) -> None:
    check_engine(version, ray, executor, token=token)


def test_a_removed_option_has_its_advice_only_where_it_is_removed() -> None:
    assert removed("--disable-log-requests", "0.16.0") is None
    assert "--enable-log-requests" in (removed("--disable-log-requests", "0.17.0") or "")
    assert removed("--dtype", "0.32.0") is None


def test_each_cpu_platform_is_there() -> None:
    assert {entry.cpu_plugin for entry in versions.VLLM} == set(CPU_PLATFORMS)
    for path in CPU_PLATFORMS.values():
        module, _, name = path.rpartition(".")
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        assert f"class {name}(" in Path(spec.origin).read_text()
