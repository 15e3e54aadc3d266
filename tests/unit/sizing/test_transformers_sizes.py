"""What transformers' own classes hold, recorded from them on the meta device, is what the plan counts."""

import json
from typing import Any

import pytest

from unit.sizing.models import DATA, config, names
from vllm_multinode.sizing.model.architecture import read_architecture
from vllm_multinode.sizing.model.splits import cut

RECORDED: dict[str, dict[str, Any]] = json.loads((DATA / "transformers.json").read_text())


@pytest.mark.parametrize("name", [name for name in names() if "elements" in RECORDED[name]])
def test_numbers_of_a_model(name: str) -> None:
    """Without quantisation and without the layers of multi-token prediction, which the classes leave out."""
    plain = config(name)
    plain.pop("quantization_config", None)
    model = read_architecture(plain)
    counted = cut(model, 1)
    numbers = (counted.checkpoint - counted.drafts.stored) / model.dtype_bytes
    assert numbers == pytest.approx(RECORDED[name]["elements"], rel=0.005)
