"""What was recorded of KServe's controllers is what they do."""

import pytest

from controlplane.made import made
from controlplane.plane.kubectl import Kubectl, KubectlError
from controlplane.plane.running import Plane
from kserve_objects import differences, recorded

CASES = {(one["kserve"], one["case"]): one for one in recorded() if "kserve" in one}


@pytest.mark.parametrize("case", sorted({name for _, name in CASES}))
def test_the_same_verdict_and_the_same_objects(case: str, plane: Plane, kubectl: Kubectl) -> None:
    told = CASES[plane.kserve, case]
    if told["verdict"] != "accepted":
        _, _, reason = told["verdict"].partition("denied the request: ")
        with pytest.raises(KubectlError) as refused:
            kubectl.apply(*told["input"])
        assert reason in str(refused.value)
        return
    kubectl.apply(*told["input"])
    found = differences(made(kubectl, told["made"]), told["made"])
    assert not found, "\n".join(found)
