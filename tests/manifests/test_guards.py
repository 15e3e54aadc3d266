"""Nothing that this project writes lacks a guard: overlays, the Template, and what is rendered."""

from pathlib import Path
from typing import Any

import pytest

from manifests.folders import MANIFESTS, build, leaves, load, name
from manifests.leaf import leaf
from manifests.oc_process import process
from vllm_multinode.authoring.render import Target, render
from vllm_multinode.authoring.render.secrets import ROLE, source
from vllm_multinode.authoring.rules import guards, publishing, validate
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.contract.labels import COMPONENT
from vllm_multinode.k8s.documents import Document, from_text
from vllm_multinode.k8s.emit import to_yaml
from vllm_multinode.platforms.releases import RELEASES, Release

GUARDS = {rule.id for rule in (*guards.RULES, *publishing.RULES)} | {"resources-missing", "service-links"}
ALL = [one for product in RELEASES.values() for one in product if one.knows_worker_spec]
WAYS = ("route", "route-reencrypt", "gateway", "ingress")


def lacking(documents: list[Document], releases: list[Release]) -> list[str]:
    found = validate(documents, releases)
    return [f"{one.rule} {one.path}: {one.message}" for one in found if one.rule in GUARDS]


def of(objects: Any) -> list[Document]:
    return from_text(to_yaml(objects), "built.yaml")


@pytest.mark.parametrize("folder", leaves(), ids=name)
def test_no_overlay_lacks_a_guard(folder: Path) -> None:
    assert lacking(of(build(folder)), ALL) == []


@pytest.mark.parametrize("way", WAYS)
def test_what_publishes_asks_for_a_key_and_speaks_tls(way: str, tmp_path: Path) -> None:
    folder = leaf(tmp_path / "leaf", "nvidia", way, "network-policy", "pdb", namePrefix="mine-")
    assert lacking(of(build(folder)), ALL) == []


def test_the_template_lacks_none() -> None:
    template = load(MANIFESTS / "template/template.yaml")[0]
    assert lacking(of(process(template, {"NAMESPACE": "models"})), ALL) == []


SPECS: list[Any] = [
    pytest.param({}, id="least"),
    pytest.param({"executor": "ray"}, id="ray"),
    pytest.param({"publish": "route"}, id="route"),
    pytest.param({"publish": {"via": "route", "reencrypt": True}}, id="reencrypt"),
    pytest.param({"publish": "gateway"}, id="gateway"),
    pytest.param({"publish": {"via": "ingress", "host": "llm.example.com"}}, id="ingress"),
    pytest.param({"replicas": 2, "publish": "ingress"}, id="replicas"),
    pytest.param({"placement": {"topologyKey": "rack"}}, id="rack"),
    pytest.param({"accelerator": {"type": "none"}}, id="cpu"),
]


@pytest.mark.parametrize("fields", SPECS)
@pytest.mark.parametrize("target", ["kserve", "lws"])
def test_nothing_rendered_lacks_a_guard(fields: dict[str, Any], target: Target) -> None:
    least = {"name": "llm", "model": {"claim": "models"}, "parallelism": {"tensor": 2, "pipeline": 2}}
    spec = DeploymentSpec.model_validate(least | fields)
    # Before, KServe counts GPUs alone.
    able = [one for one in ALL if one.knows_mp_annotation] if "accelerator" in fields else ALL
    for release in able if target == "kserve" else able[:1]:
        assert lacking(of(render(spec, release, target).documents), [release]) == [], release.name


@pytest.mark.parametrize(
    ("fields", "rules"),
    [
        pytest.param({"tokenSecret": False}, {"token-missing"}, id="token"),
        pytest.param({"network": {"policy": False}}, {"network-policy-missing"}, id="policy"),
        pytest.param({"publish": "ingress", "apiKeySecret": False}, {"api-key-missing"}, id="key"),
        pytest.param({"securityContext": {"runAsNonRoot": False}}, {"not-restricted"}, id="root"),
    ],
)
def test_what_a_spec_turns_off_is_said(fields: dict[str, Any], rules: set[str]) -> None:
    least = {"name": "llm", "model": {"claim": "models"}, "parallelism": {"tensor": 2, "pipeline": 2}}
    made = of(render(DeploymentSpec.model_validate(least | fields)).documents)
    assert {one.rule for one in validate(made) if one.rule in GUARDS} == rules


def test_a_lone_service_is_told_once() -> None:
    """One finding names what is missing; somebody's single file is not drowned in them."""
    spec = DeploymentSpec.model_validate(
        {"name": "llm", "model": {"claim": "m"}, "parallelism": {"pipeline": 2}, "tokenSecret": False}
    )
    files = render(spec).files
    alone = of([*files["serving-runtime.yaml"], *files["inference-service.yaml"]])
    (found,) = [one for one in validate(alone) if one.rule in GUARDS]
    assert found.rule == "unguarded"
    for words in ("no token", "no NetworkPolicy", "no PodDisruptionBudget"):
        assert words in found.message


@pytest.mark.parametrize("folder", leaves(), ids=name)
def test_an_overlay_runs_on_the_accelerators_that_it_is_for(folder: Path) -> None:
    """Shape or product, for head and workers; of Intel's GPUs and of CPUs no label is known."""
    for service in (one for one in build(folder) if one["kind"] == "InferenceService"):
        predictor = service["spec"]["predictor"]
        found = [part["affinity"].get("nodeAffinity") for part in (predictor, predictor["workerSpec"])]
        accelerator = service["metadata"]["annotations"]["vllm-multinode/accelerator"]
        assert found[0] == found[1]
        assert (found[0] is not None) is (accelerator in ("cuda", "rocm"))


@pytest.mark.parametrize("folder", leaves(), ids=name)
def test_the_job_that_fills_secrets_names_those_of_its_service(folder: Path) -> None:
    """Through namePrefix, and with its program as it is; kubelets expand $(…), Templates ${…}."""
    objects = build(folder)
    secrets = {one["metadata"]["name"] for one in objects if one["kind"] == "Secret"}
    jobs = [one for one in objects if one["metadata"].get("labels", {}).get(COMPONENT) == ROLE]
    for job in (one for one in jobs if one["kind"] == "Job"):
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["command"] == ["python3", "-c", source()]
        assert "$(" not in source()
        assert "${" not in source()
        assert set(container["args"][::2]) <= secrets
        account = job["spec"]["template"]["spec"]["serviceAccountName"]
        (role,) = [one for one in jobs if one["kind"] == "Role" and one["metadata"]["name"] == account]
        assert role["rules"][0]["resourceNames"] == container["args"][::2]
        assert role["rules"][0]["verbs"] == ["get", "patch"]
    assert any(one["kind"] == "Job" for one in jobs)
