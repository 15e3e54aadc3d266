"""Whatever is given: a finding or one line."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.fuzz_manifests import cases, judge
from unit.authoring.rules.examples import base
from vllm_multinode.k8s.emit import to_yaml

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(
    [
        ("serving.kserve.io/v1beta1", "InferenceService"),
        ("serving.kserve.io/v1alpha1", "ServingRuntime"),
        ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"),
    ]
)


@given(st.binary(max_size=300))
def test_bytes(raw: bytes) -> None:
    assert judge(raw) in ("read", "MANIFEST")


@given(st.text(max_size=300))
def test_text(text: str) -> None:
    assert judge(text.encode(errors="replace")) in ("read", "MANIFEST")


@given(KINDS, PLAIN, PLAIN)
def test_any_spec_of_a_known_kind(kind: tuple[str, str], metadata: object, spec: object) -> None:
    body = {"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, "spec": spec}
    assert judge(to_yaml([body]).encode(errors="replace")) in ("read", "MANIFEST")


@given(st.sampled_from(["spec/predictor", "spec/predictor/model", "spec/predictor/workerSpec"]), PLAIN)
def test_any_part_of_a_service(place: str, value: object) -> None:
    service = {**base()["service"]}
    body = service
    *parents, last = place.split("/")
    for step in parents:
        body[step] = {**body[step]}
        body = body[step]
    body[last] = value
    assert judge(to_yaml([base()["runtime"], service]).encode(errors="replace")) in ("read", "MANIFEST")


def test_truncated_at_any_byte() -> None:
    whole = to_yaml([base()["service"]]).encode()
    assert {judge(whole[:end]) for end in range(len(whole))} == {"read", "MANIFEST"}


@pytest.mark.parametrize("seed", range(3))
def test_mutations(seed: int) -> None:
    skipped = len(to_yaml([base()["runtime"], base()["service"], base()["group"]]).encode())
    for raw in itertools.islice(cases(seed), skipped, skipped + 150):
        judge(raw)
