"""Every rule finds its example, where and for the versions it should, and nothing in the good twin."""

import pytest

from kserve_inputs import VERSIONS
from unit.authoring.rules.examples import Example, base, documents, examples
from vllm_multinode.authoring.report import as_lines
from vllm_multinode.authoring.rules import RULES, validate
from vllm_multinode.platforms.releases import find
from vllm_multinode.sizing.model.sources import find_model
from vllm_multinode.sizing.planner.request import Gpu, find_gpu

MODEL = find_model("meta-llama/Llama-3.1-8B-Instruct")
BY_ID = {rule.id: rule for rule in RULES}


def _cases() -> list[object]:
    return [pytest.param(example, id=example.rule) for example in examples()]


def gpu_of(example: Example) -> Gpu | None:
    return find_gpu(example.gpu)[0] if example.gpu else None


def test_every_rule_has_an_example_and_every_example_a_rule() -> None:
    assert sorted(example.rule for example in examples()) == sorted(BY_ID)


def test_ids_are_unique() -> None:
    assert len(BY_ID) == len(RULES)


@pytest.mark.parametrize("example", _cases())
def test_bad_example_is_found(example: Example) -> None:
    releases = [find(version) for version in dict.fromkeys((*VERSIONS, example.version))]
    found = [
        one
        for one in validate(documents(example.bad), releases, MODEL, gpu_of(example))
        if one.rule == example.rule
    ]
    assert found, "not found"
    held = {release.name.removeprefix("kserve-") for one in found for release in one.releases}
    assert found[0].path == example.path
    assert held == set(example.versions)
    assert found[0].severity == BY_ID[example.rule].severity


@pytest.mark.parametrize("example", _cases())
def test_good_example_is_not_found(example: Example) -> None:
    version = "0.19.0" if example.version in ("0.14.1", "0.20.0") else "0.18.1"
    found = validate(documents(example.good), [find(version)], MODEL, gpu_of(example))
    assert [one.rule for one in found if one.rule == example.rule or one.blocks] == []


@pytest.mark.parametrize("version", ["0.15.2", "0.16.0", "0.17.1", "0.18.1", "0.19.0"])
def test_base_has_no_findings(version: str) -> None:
    bodies = [base()[name] for name in ("runtime", "service", "group", "policy", "budget")]
    found = validate(documents(bodies), [find(version)], MODEL)
    expected = {"strategy-mode"} if version == "0.16.0" else set()
    assert {one.rule for one in found} == expected


@pytest.mark.parametrize("example", _cases())
def test_messages_are_sentences(example: Example) -> None:
    release = find(example.version)
    for one in validate(documents(example.bad), [release], MODEL, gpu_of(example)):
        assert one.message.endswith("."), one.message
        assert one.hint.endswith("."), one.hint
        assert one.line is not None
        (line,) = as_lines([one], one.releases)
        assert "\n" not in line
