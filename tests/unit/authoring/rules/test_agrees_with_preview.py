"""Two views of one KServe: what validation blocks, and what a preview says is refused or stalls."""

import pytest

from unit.authoring.rules.examples import Example, documents, examples
from vllm_multinode.authoring.preview import preview
from vllm_multinode.authoring.rules import validate
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.platforms.releases import find

# What a preview does not look at: which node could hold a pod, the engine's arguments, the launcher.
_ELSEWHERE = {"gpu-types-mixed", "size-arguments", "lws-sizes-missing", "lws-gpus", "lws-leader-missing"}

_SCHEMA = {"doubled-item", "wrong-value", "missing-field", "metadata-not-text", "object-name", "api-version"}


@pytest.mark.parametrize("example", [pytest.param(one, id=one.rule) for one in examples()])
def test_preview_and_validation_block_the_same(example: Example) -> None:
    found = [one for one in validate(documents(example.bad), [find(example.version)]) if one.blocks]
    try:
        seen = preview([one.body for one in documents(example.bad)], example.version)
    except MultinodeError:
        assert any(one.severity == "refused" for one in found)
        return
    blocked = {one.rule for one in found} - _ELSEWHERE - {"unknown-field", "runtime-drops-field"}
    if seen.refusals or seen.stalls:
        assert blocked, [one.text for one in (*seen.refusals, *seen.stalls)]
    else:
        assert blocked <= _SCHEMA
