"""Each component over each folder, rendered or an overlay: it works under the names there, or is rejected.

What would be worse is a folder that builds and selects nothing.
"""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from manifests.folders import OVERLAYS, BuildError, Object, build, components, leaves
from manifests.leaf import leaf
from manifests.references import unresolved
from vllm_multinode.authoring.folder import write
from vllm_multinode.authoring.render import Target, render
from vllm_multinode.authoring.spec import loads

NAMES = [folder.name for folder in components() if folder.name not in ("kserve-fields", "one-service")]
LEAST = "name: llama\nmodel: {claim: models, path: llama}\nparallelism: {tensor: 8, pipeline: 2}\n"
SPECS: dict[str, tuple[str, Target]] = {
    "rendered": (LEAST, "kserve"),
    "rendered-with-source": (
        "name: llama\nmodel: {source: hf://org/llama, size: 10Gi}\nparallelism: {tensor: 8, pipeline: 2}\n",
        "kserve",
    ),
    "rendered-bare": (
        f"{LEAST}tokenSecret: false\nnetwork: {{policy: false}}\ndisruptionBudget: false\n",
        "kserve",
    ),
    "rendered-replicas": (f"{LEAST}replicas: 2\n", "kserve"),
    "rendered-published": (f"{LEAST}publish: route\nmonitoring: true\nqueue: gpus\n", "kserve"),
    "rendered-cpu": (f"{LEAST}accelerator: {{type: none}}\n", "kserve"),
    "rendered-amd-rdma": (
        f"{LEAST}accelerator: {{type: amd}}\nnetwork: {{rdma: {{resource: rdma/hca}}}}\n",
        "kserve",
    ),
    "rendered-lws": (LEAST, "lws"),
}
# --all-versions takes the others too, which differ little from these.
USUAL = (
    "rendered",
    "rendered-with-source",
    "rendered-bare",
    "rendered-replicas",
    "rendered-published",
    "rendered-lws",
    "llama-3-8b-a10g",
    "mixtral-8x22b",
)
# What the user has in the cluster: the claim that a spec names.
ELSEWHERE = [("PersistentVolumeClaim", "models")]
# kustomize's words for what does not go together.
# Its own for what is there already or not at all, and those that the components give it.
WORDS = re.compile(
    r"nothing selected by (InferenceService|Secret|Job)|multiple matches for (Id |selector InferenceService)"
    r"|already registered id: |[Uu]nable to remove nonexistent key|remove operation does not apply"
    r"|(testing value|doc is missing key:) /(set '\S+' in the spec of a rendered folder"
    r"|render with an OpenShift '--platform' instead|list 'network-policy' before 'openshift'"
    r"|another component lists resources already|resources are listed already, so use 'network\.rdma'"
    r"|this service has an accelerator already|use the spec (for a LeaderWorkerSet|where there are several))"
)
# What a folder may say already in the same words: what `route` brings along, the annotation of a release.
IDEMPOTENT = {"api-key", "kserve-0.15.0", "kserve-0.16.0"}
# Over a rendered folder these work; the others are rejected: the spec has said so, or the base is missing.
WORK = {
    "argocd",
    "kserve-0.15.0",
    "kserve-0.16.0",
    "monitoring",
    "openshift-ai",
    "port-range",
    "priority",
    "queue",
    "rdma",
    "rdma-sriov",
    "shared-memory",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> dict[str, Path]:
    """Every folder that a component is put over, by name."""
    top = tmp_path_factory.mktemp("places")
    found = {}
    for name, (spec, target) in SPECS.items():
        found[name] = top / name
        made = render(loads(spec), target=target)
        write(found[name], {file: made.text(file) for file in made.files})
    found |= {one.name: one for one in leaves()}
    if pytestconfig.getoption("--all-versions"):
        return found
    return {name: found[name] for name in USUAL}


Outcome = tuple[Object, ...] | BuildError


@pytest.fixture(scope="module")
def outcomes(
    places: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Outcome]:
    """What each component makes of each folder."""
    top = tmp_path_factory.mktemp("over")

    def over(pair: tuple[str, str]) -> Outcome:
        place, component = pair
        try:
            return build(leaf(top / place / component, component, base=places[place]))
        except BuildError as error:
            return error

    pairs = [(place, component) for place in places for component in NAMES]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(pairs, pool.map(over, pairs), strict=True))


def of_component(outcomes: dict[tuple[str, str], Outcome], component: str) -> Iterator[tuple[str, Outcome]]:
    yield from ((place, outcome) for (place, one), outcome in outcomes.items() if one == component)


@pytest.mark.parametrize("component", NAMES)
def test_it_works_or_is_refused_with_a_word(
    component: str, places: dict[str, Path], outcomes: dict[tuple[str, str], Outcome]
) -> None:
    wrong = []
    for place, outcome in of_component(outcomes, component):
        if isinstance(outcome, BuildError):
            wrong += [] if WORDS.search(str(outcome)) else [f"{place}: {outcome}"]
            continue
        release = component.removeprefix("kserve-") if component.startswith("kserve-") else "0.19.0"
        wrong += [f"{place}: {one}" for one in unresolved(outcome, ELSEWHERE, release)]
        if component not in IDEMPOTENT and json.dumps(outcome) == json.dumps(build(places[place])):
            wrong.append(f"{place}: it changes nothing")
    assert wrong == []


@pytest.mark.parametrize("component", NAMES)
def test_over_a_rendered_service(component: str, outcomes: dict[tuple[str, str], Outcome]) -> None:
    works = not isinstance(outcomes["rendered", component], BuildError)
    assert works == (component in WORK), outcomes["rendered", component]


@pytest.mark.parametrize(
    ("place", "component", "told"),
    [
        pytest.param("rendered", "nvidia", "/this service has an accelerator already/", id="accelerator"),
        pytest.param("rendered", "api-key", "/set 'publish' in the spec of a rendered folder/", id="key"),
        pytest.param("rendered", "route", "/set 'publish' in the spec of a rendered folder/", id="route"),
        pytest.param("rendered", "model", "/set 'model.source' in the spec of a rendered", id="model"),
        pytest.param("rendered", "replicas", "/set 'replicas' in the spec of a rendered", id="replicas"),
        pytest.param("rendered", "openshift", "/render with an OpenShift '--platform'", id="openshift"),
        pytest.param("rendered", "pdb", "already registered id: PodDisruptionBudget.", id="there-already"),
        pytest.param("rendered-replicas", "rdma", "/use the spec where there are several", id="several"),
        pytest.param("rendered-lws", "queue", "/use the spec for a LeaderWorkerSet", id="lws"),
    ],
)
def test_a_refusal_says_what_to_do(
    place: str, component: str, told: str, outcomes: dict[tuple[str, str], Outcome]
) -> None:
    assert told in str(outcomes[place, component])


@pytest.mark.parametrize("component", ["network-policy", "pdb"])
def test_what_a_spec_has_left_out_a_component_adds(
    component: str, outcomes: dict[tuple[str, str], Outcome]
) -> None:
    made = outcomes["rendered-bare", component]
    assert not isinstance(made, BuildError)
    kind = {"network-policy": "NetworkPolicy", "pdb": "PodDisruptionBudget"}[component]
    assert [one["metadata"]["name"] for one in made if one["kind"] == kind] == ["llama"]


@pytest.mark.parametrize("component", NAMES)
def test_no_component_goes_over_a_leader_worker_set(
    component: str, outcomes: dict[tuple[str, str], Outcome]
) -> None:
    assert isinstance(outcomes["rendered-lws", component], BuildError)


def test_two_services_in_one_namespace_share_no_name(tmp_path: Path) -> None:
    """Components over two overlays, both in one namespace: neither overwrites what the other added."""
    given = ("route", "monitoring", "rdma", "openshift-ai")
    found: list[set[tuple[str, str]]] = []
    for number, place in enumerate(("llama-3.3-70b", "deepseek-r1")):
        objects = build(leaf(tmp_path / str(number), *given, base=OVERLAYS / place))
        assert unresolved(objects) == []
        found.append({(one["kind"], one["metadata"]["name"]) for one in objects})
    shared = {kind for kind, _ in found[0] & found[1]}
    # The same for all services: runtime and launcher, alerts, dashboard.
    assert shared <= {"ConfigMap", "PrometheusRule", "ServingRuntime"}


def test_a_queue_counts_the_nodes_of_a_finished_folder(tmp_path: Path) -> None:
    objects = build(leaf(tmp_path / "leaf", "queue", base=OVERLAYS / "mixtral-8x7b-a10g"))
    (service,) = [one for one in objects if one["kind"] == "InferenceService"]
    meta = service["metadata"]
    assert meta["annotations"]["kueue.x-k8s.io/pod-group-total-count"] == "8"
    assert meta["labels"]["kueue.x-k8s.io/pod-group-name"] == meta["name"] == "mixtral-8x7b-a10g-vllm"
