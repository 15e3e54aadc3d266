"""What the running controllers and webhooks of fourteen releases said, against what the rules say."""

from typing import Any

import pytest

from kserve_objects import recorded as recorded_cases
from unit.authoring.rules.examples import documents, examples
from vllm_multinode.authoring.rules import validate
from vllm_multinode.platforms.releases import find


def _cases(*, accepted: bool = False) -> list[object]:
    chosen = (one for one in recorded_cases() if not accepted or one["verdict"] == "accepted")
    return [pytest.param(one, id=f"{one['platform']}-{one['case']}") for one in chosen]


@pytest.mark.parametrize("recorded", _cases())
def test_refused_where_the_webhook_refused(recorded: dict[str, Any]) -> None:
    found = validate(documents(recorded["input"]), [find(recorded["platform"])])
    refused = [one for one in found if one.severity == "refused"]
    verdict: str = recorded["verdict"]
    if verdict == "accepted":
        # The cases were recorded with a client that does not ask for strict validation.
        assert {one.rule for one in refused} <= {"unknown-field", "runtime-drops-field"}
    else:
        said = verdict.partition("denied the request: ")[2]
        assert any(said.rstrip(".") in one.message for one in refused), [one.message for one in refused]


@pytest.mark.parametrize("recorded", _cases(accepted=True))
def test_stalls_where_a_recorded_service_had_no_workers(recorded: dict[str, Any]) -> None:
    made = {one["metadata"].get("name") for one in recorded["made"]}
    stalls = {one.rule for one in validate(documents(recorded["input"]), [find(recorded["platform"])])
              if one.severity == "stalls"}  # fmt: skip
    release = find(recorded["platform"])
    if release.recreates_workers:
        assert "workers-recreated" in stalls
    elif "llm-predictor-worker" not in made:
        assert "worker-spec-ignored" in stalls
    else:
        assert stalls <= {"executor-ignored"}


@pytest.mark.parametrize(
    "example", [pytest.param(one, id=one.rule) for one in examples() if one.live == "recorded"]
)
def test_recorded_example_names_a_case(example: Any) -> None:
    cases = [one for one in recorded_cases() if one["case"] == example.recorded]
    case = next(one for one in cases if one["platform"] == find(example.version).name)
    found = validate(documents(case["input"]), [find(example.version)])
    assert example.rule in {one.rule for one in found}
