"""What the real engine listens on is what docs/security.md says."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from engine import sockets
from engine.conftest import Start
from vllm_multinode.contract.executors import EXECUTOR_NAMES, ExecutorName

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM here: nothing listens"),
]


@pytest.mark.parametrize("executor", EXECUTOR_NAMES)
def test_the_table_of_listening_sockets_is_true(
    start: Start, made_model: Path, tmp_path: Path, executor: ExecutorName
) -> None:
    found = sockets.seen(start, sockets.pods(made_model, executor, tmp_path), executor)
    seen = sockets.table(sorted(found)).splitlines()[2:]
    written = [line for line in sockets.written().splitlines() if line.startswith(f"| {executor} |")]
    assert seen == written, "run scripts/sockets, and read what has changed"
