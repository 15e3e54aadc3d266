"""Which versions of vLLM and Ray the launcher takes."""

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.support import check_engine


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
