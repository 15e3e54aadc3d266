"""Every recorded case of every recorded KServe: the preview equals what the controller made."""

from typing import Any

import pytest

from kserve_objects import differences, recorded
from vllm_multinode.authoring.preview import preview

CASES = [pytest.param(one, id=f"{one['kserve']}-{one['case']}") for one in recorded()]
# KServe before v0.17 keeps the three newest head Services of the whole cluster and deletes every other one;
# this case was the fourth.
DELETED_AGAIN = {("v0.15.0", "placement-differs-head-worker"): "Service llm-head-1: ours, and not made"}


def test_the_recorded_cases_are_all_there() -> None:
    assert len(CASES) == 91


@pytest.mark.parametrize("case", CASES)
def test_the_preview_equals_what_the_controller_made(case: dict[str, Any]) -> None:
    found = preview(case["input"], case["kserve"])
    if case["verdict"] == "accepted":
        assert not found.refusals
    else:
        told = case["verdict"].removeprefix("refused: InferenceService: ")
        assert [one.text for one in found.refusals] == [told]
    different = differences(found.objects, case["made"])
    expected = DELETED_AGAIN.get((case["kserve"], case["case"]))
    assert different == ([expected] if expected else []), "\n" + "\n".join(different)
