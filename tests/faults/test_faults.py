"""A few faults on the real engine under mp; `scripts/faults` has all of them, under both executors."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from faults.cases import CASES
from faults.run import broken
from vllm_multinode.local.tiny_model.make_model import make_model

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        find_spec("vllm") is None, reason="no vLLM here; `multinode local install` installs it"
    ),
]

NAMES = ("link-cut-shortly", "worker-process-killed", "head-asked-to-stop")


def test_faults_are_noticed_and_no_client_is_left_without_a_word(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model").directory
    # A machine that runs tests besides may be slow: bounds in seconds are held by `scripts/faults`.
    with broken("mp", model, tmp_path / "group") as group:
        for name in NAMES:
            row = group.run(name, CASES[name], "light", patient=True)
            assert not row.failures, (name, row.reason, row.failures)
