"""Components add, in any order, and say when they cannot."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from manifests.folders import (
    BuildError,
    Object,
    build,
    components,
    of_kind,
    walk,
)
from manifests.leaf import leaf, sorted_objects
from vllm_multinode.authoring.render.images import RELEASED

ACCELERATORS = ("amd", "cpu", "gaudi", "intel", "nvidia")
# In place of each other, which their own words say.
EXCLUSIVE = (
    *(frozenset(pair) for pair in itertools.combinations(ACCELERATORS, 2)),
    frozenset({"rdma", "rdma-sriov"}),
    # Each writes the list of resources that KServe does not know.
    *(frozenset({one, other}) for one in ("rdma", "rdma-sriov") for other in ("cpu", "intel")),
    frozenset({"route", "route-reencrypt"}),
    frozenset({"kserve-0.15.0", "kserve-0.16.0"}),
    # In this order alone: the first one brings what the second changes.
    frozenset({"model", "openshift"}),
    frozenset({"network-policy", "openshift"}),
    frozenset({"replicas", "openshift"}),
    # The last of a list: it marks what the others bring.
    *(frozenset({"argocd", other}) for other in ("gateway", "ingress", "model", "route", "route-reencrypt")),
)
NAMES = [folder.name for folder in components() if folder.name not in ("kserve-fields", "one-service")]
PAIRS = [pair for pair in itertools.combinations(NAMES, 2) if frozenset(pair) not in EXCLUSIVE]
ALONE = {
    "argocd",
    "openshift",
    "amd",
    "cpu",
    "gaudi",
    "intel",
    "rdma-sriov",
    "route-reencrypt",
    "kserve-0.16.0",
}
ALL = tuple(name for name in NAMES if name not in ALONE)
# kustomize takes much longer over many objects at once.
BATCH = 8

Made = dict[tuple[str, ...], list[Object]]


def together(folder: Path, combinations: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], list[Object]]:
    """What each combination of components makes of the base, built by a few processes instead of hundreds."""
    found: dict[tuple[str, ...], list[Object]] = {combination: [] for combination in combinations}
    for start in range(0, len(combinations), BATCH):
        batch = {f"n{start + number}-": one for number, one in enumerate(combinations[start : start + BATCH])}
        for prefix, names in batch.items():
            leaf(folder / f"{start}" / prefix, *names, namePrefix=prefix)
        top = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [*batch],
        }
        (folder / f"{start}/kustomization.yaml").write_text(yaml.safe_dump(top))
        for one in build(folder / f"{start}"):
            prefix = one["metadata"]["name"].partition("-")[0] + "-"
            found[batch[prefix]].append(json.loads(json.dumps(one).replace(prefix, "")))
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], list[Object]]:
    """The base, each component alone over it, and each two that go together, in both orders."""
    orders = [order for pair in PAIRS for order in (pair, pair[::-1])]
    return together(
        tmp_path_factory.mktemp("made"), [(), *((one,) for one in NAMES), *orders, ALL, ALL[::-1]]
    )


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda one: one)
def test_any_two_give_the_same_in_either_order(made: Made, first: str, second: str) -> None:
    assert sorted_objects(made[first, second]) == sorted_objects(made[second, first])


def test_all_that_go_together_give_the_same_in_either_order(made: Made) -> None:
    assert sorted_objects(made[ALL]) == sorted_objects(made[ALL[::-1]])


@pytest.mark.parametrize("name", NAMES)
def test_it_adds_and_replaces_nothing(made: Made, name: str) -> None:
    after = {(one["kind"], one["metadata"]["name"]): one for one in made[name,]}
    for one in made[()]:
        key = (one["kind"], one["metadata"]["name"])
        missing = [path for path in lost(one, after[key]) if path[-1] not in CHANGED]
        assert not missing, f"{name} takes {missing} from {key}"


# What a component is there to change: tag, sizes, the size of a volume, values of one annotation.
CHANGED = {
    "image",
    "tensorParallelSize",
    "sizeLimit",
    "cpu",
    "serving.kserve.io/gpu-resource-types",
    "serving.kserve.io/autoscalerClass",
    "serving.kserve.io/deploymentMode",
    # OpenShift gives them.
    "runAsUser",
    "runAsGroup",
}


def lost(before: Any, after: Any, path: tuple[Any, ...] = ("",)) -> list[tuple[Any, ...]]:
    """Paths of what was there and is not any more."""
    if isinstance(before, dict):
        inner = (
            [(*path, key)] if key not in after else lost(one, after[key], (*path, key))
            for key, one in before.items()
        )
        return [found for part in inner for found in part]
    if isinstance(before, list):
        by_key = {one.get("name", str(one)): one for one in after if isinstance(one, dict)}
        found: list[tuple[Any, ...]] = []
        for one in before:
            if not isinstance(one, dict):
                found += [] if one in after else [(*path, one)]
            elif "name" in one:
                found += (
                    lost(one, by_key[one["name"]], (*path, one["name"]))
                    if one["name"] in by_key
                    else [(*path, one["name"])]
                )
        return found
    return [] if before == after else [path]


@pytest.mark.parametrize("pair", list(itertools.pairwise(ACCELERATORS)), ids="-".join)
def test_two_accelerators_are_refused_by_name(tmp_path: Path, pair: tuple[str, str]) -> None:
    with pytest.raises(BuildError, match="this service has an accelerator already"):
        build(leaf(tmp_path / "leaf", *pair))


PUBLISHING = {"api-key", "gateway", "ingress", "route", "route-reencrypt"}
# The others change what a runtime or a router is.
PATCHING = [name for name in NAMES if name not in ("openshift", "replicas")]


@pytest.mark.parametrize("name", PATCHING)
def test_without_its_base_it_says_what_it_wants(tmp_path: Path, name: str) -> None:
    folder = leaf(tmp_path / "leaf", name, base=None, resources=["one.yaml"])
    (folder / "one.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n")
    with pytest.raises(BuildError, match=r"nothing selected by InferenceService\."):
        build(folder)


@pytest.mark.parametrize("name", NAMES)
def test_head_and_workers_get_the_same(made: Made, name: str) -> None:
    """What is set for the head is not set for the workers: every patch names both."""
    (service,) = of_kind(made[name,], "InferenceService")
    predictor: Object = service["spec"]["predictor"]
    worker = predictor["workerSpec"]
    # The certificate is for the API, which the head alone has.
    of_head = {"volumes", "volumeMounts"} if name == "route-reencrypt" else set()
    # So is its key.
    of_head |= {"env"} if name in PUBLISHING else set()
    pod = {
        key: one for key, one in predictor.items() if key not in {"model", "workerSpec", "deploymentStrategy"}
    }
    sizes = {"tensorParallelSize", "pipelineParallelSize", "containers"}
    assert {key: one for key, one in pod.items() if key not in of_head} == {
        key: one for key, one in worker.items() if key not in sizes | of_head
    }
    for field in {"env", "resources", "securityContext", "volumeMounts"} - of_head:
        assert predictor["model"].get(field) == worker["containers"][0].get(field), field


def test_a_leaf_s_own_variable_joins_those_of_the_components(tmp_path: Path) -> None:
    patch = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: vllm}
spec: {predictor: {model: {env: [{name: MULTINODE_LOG_LEVEL, value: debug}]}}}
"""
    objects = build(leaf(tmp_path / "leaf", "nvidia", "api-key", patches=[{"patch": patch}]))
    (service,) = of_kind(objects, "InferenceService")
    names = {one["name"] for one in service["spec"]["predictor"]["model"]["env"]}
    assert names == {"MULTINODE_LOG_LEVEL", "MULTINODE_ACCELERATOR", "MULTINODE_TOKEN_FILE", "VLLM_API_KEY"}


def test_a_leaf_s_image_takes_the_place_of_the_component_s(tmp_path: Path) -> None:
    images = [{"name": "docker.io/vllm/vllm-openai-rocm", "newName": "registry.example/vllm"}]
    (runtime,) = of_kind(build(leaf(tmp_path / "leaf", "amd", images=images)), "ServingRuntime")
    spec = runtime["spec"]
    used = {one["image"] for one in (*spec["containers"], *spec["workerSpec"]["containers"])}
    assert used == {f"registry.example/vllm:{RELEASED['amd'].rpartition(':')[2]}"}


def test_hashed_names_are_followed(tmp_path: Path) -> None:
    patch = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: vllm}
spec:
  predictor:
    model: {env: [{name: A, valueFrom: {configMapKeyRef: {name: settings, key: a}}}]}
    volumes: [{name: settings, configMap: {name: settings}}]
    workerSpec:
      containers: [{name: worker-container, envFrom: [{secretRef: {name: hidden}}]}]
"""
    objects = build(
        leaf(
            tmp_path / "leaf",
            patches=[{"patch": patch}],
            configMapGenerator=[{"name": "settings", "literals": ["a=1"]}],
            secretGenerator=[{"name": "hidden", "literals": ["b=2"]}],
        )
    )
    (service,) = of_kind(objects, "InferenceService")
    predictor = service["spec"]["predictor"]
    (config,) = [one for one in of_kind(objects, "ConfigMap") if "data" in one]
    (secret,) = [one for one in of_kind(objects, "Secret") if "data" in one]
    named = config["metadata"]["name"]
    assert named.startswith("settings-")
    assert predictor["model"]["env"][0]["valueFrom"]["configMapKeyRef"]["name"] == named
    assert predictor["volumes"][0]["configMap"]["name"] == named
    worker = predictor["workerSpec"]["containers"][0]
    assert worker["envFrom"][0]["secretRef"]["name"] == secret["metadata"]["name"]


def test_every_service_has_a_label_of_its_own(tmp_path: Path) -> None:
    """Two leaves in one namespace: each router takes the heads of its own service."""
    found = set()
    for prefix in ("one-", "two-"):
        objects = build(leaf(tmp_path / prefix, "replicas", namePrefix=prefix))
        (router,) = of_kind(objects, "Deployment")
        (service,) = of_kind(objects, "InferenceService")
        labels = router["spec"]["template"]["metadata"]["labels"]
        assert (
            labels["app.kubernetes.io/part-of"] == service["metadata"]["labels"]["app.kubernetes.io/part-of"]
        )
        assert router["spec"]["selector"]["matchLabels"].items() <= labels.items()
        found.add(labels["app.kubernetes.io/part-of"])
    assert found == {"one-vllm", "two-vllm"}


def test_openshift_behind_model_leaves_every_user_to_the_cluster(tmp_path: Path) -> None:
    objects = build(leaf(tmp_path / "leaf", "model", "openshift"))
    assert {one["kind"] for one in objects} >= {"Job", "ServingRuntime"}
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & {
        path[-1] for one in objects for path, _ in walk(one) if path
    }
