"""Whatever stands in a manifest: a preview or one line, never a traceback."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kserve_inputs import VERSIONS, runtime, service
from vllm_multinode.authoring.preview import Preview, preview_documents
from vllm_multinode.authoring.preview.as_json import as_object
from vllm_multinode.authoring.preview.table import as_text, updates_text
from vllm_multinode.authoring.preview.update import updates
from vllm_multinode.authoring.render.router import NAME
from vllm_multinode.contract import labels
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.k8s.documents import Reading, from_text
from vllm_multinode.k8s.emit import to_yaml
from vllm_multinode.platforms.releases import find

VERSION = st.sampled_from(["0.14.1", *VERSIONS])
_WORDS = """
a llm rt kserve-container worker-container 1 -1 2Gi {{.Name}} {{ pvc://a oci://a :// mp none Recreate
RollingUpdate nvidia.com/gpu true
"""
_KEYS = """
metadata name namespace labels annotations spec predictor model workerSpec env containers image args value
valueFrom ports containerPort resources limits requests volumes volumeMounts mountPath tolerations
runtime storageUri modelFormat leaderWorkerTemplate workerTemplate leaderTemplate replicas networkConfig
minReplicas deploymentStrategy rollingUpdate type supportedModelFormats storageUris canary logger size
"""
WORDS = st.sampled_from(["", "\n", "x" * 80, *_WORDS.split()])
NUMBERS = st.integers(-3, 9) | st.floats(allow_nan=False)
SCALARS = WORDS | st.none() | st.booleans() | NUMBERS | st.text(max_size=3)
KEYS = WORDS | st.sampled_from(_KEYS.split())
SOUP = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
KINDS = st.sampled_from(
    ["InferenceService", "ServingRuntime", "ClusterServingRuntime", "LeaderWorkerSet", "Deployment", "Other"]
)


def shown(bodies: list[Any], version: str) -> Preview | None:
    """The preview, printed in every way; None where it is one line instead."""
    try:
        documents = from_text(to_yaml(bodies), "soup", Reading(untyped=True))
        found = preview_documents(documents, find(version))
        changes = updates(documents, documents, find(version))[1]
    except MultinodeError as error:
        line = str(error)
        return None if "\n" not in line else pytest.fail(line)
    assert as_text(found)
    assert updates_text(changes)
    assert isinstance(as_object(found), dict)
    to_yaml(found.objects)
    return found


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += paths(item, (*at, key))
    return found


@given(kind=KINDS, body=st.dictionaries(KEYS, SOUP, max_size=5), version=VERSION)
def test_soup_is_a_preview_or_one_line(kind: str, body: dict[str, Any], version: str) -> None:
    shown([{**body, "apiVersion": "v1", "kind": kind}], version)


ROUTER = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "llm-router"},
    "spec": {
        "replicas": 2,
        "template": {
            "metadata": {"labels": {labels.COMPONENT: NAME}},
            "spec": {
                "containers": [{"name": NAME, "image": "router", "args": ["--worker-urls", "http://a"]}]
            },
        },
    },
}


@settings(max_examples=150)
@given(data=st.data(), version=VERSION)
def test_one_wrong_field_is_a_preview_or_one_line(data: st.DataObject, version: str) -> None:
    bodies = [runtime(), service(version=version), copy.deepcopy(ROUTER)]
    place = data.draw(
        st.sampled_from([(index, *path) for index, body in enumerate(bodies) for path in paths(body)])
    )
    holder: Any = bodies
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = data.draw(SOUP)
    shown(bodies, version)


@given(data=st.data(), version=VERSION)
def test_one_further_field_is_a_preview_or_one_line(data: st.DataObject, version: str) -> None:
    bodies = [runtime(), service(version=version)]
    holders = [bodies[0]["spec"], bodies[0]["spec"]["workerSpec"], bodies[0]["spec"]["containers"][0]]
    predictor = bodies[1]["spec"]["predictor"]
    holders += [
        predictor,
        predictor["model"],
        predictor["workerSpec"],
        bodies[1]["metadata"],
        bodies[1]["spec"],
    ]
    data.draw(st.sampled_from(holders))[data.draw(KEYS)] = data.draw(SOUP)
    shown(bodies, version)


@pytest.mark.parametrize(
    "bodies", [[], [{}], [{"kind": None}], [{"kind": ["x"]}], [{"kind": "InferenceService"}]]
)
def test_next_to_nothing(bodies: list[Any]) -> None:
    shown(copy.deepcopy(bodies), "0.18.1")
