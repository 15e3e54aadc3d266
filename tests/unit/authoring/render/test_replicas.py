"""Several groups behind the router: what is rendered for KServe and for LeaderWorkerSet."""

from typing import Any, get_args

import pytest

from vllm_multinode.authoring.foreign import foreign
from vllm_multinode.authoring.preview import preview
from vllm_multinode.authoring.render import Target, render, router
from vllm_multinode.authoring.rules import validate
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.k8s.documents import from_text
from vllm_multinode.platforms.releases import DEFAULT

Object = dict[str, Any]

_TARGETS = get_args(Target)
_PART_OF, _COMPONENT = "app.kubernetes.io/part-of", "app.kubernetes.io/component"


def spec(**fields: Any) -> DeploymentSpec:
    least = {"name": "a", "model": {"claim": "x"}, "parallelism": {"tensor": 4, "pipeline": 2}}
    return DeploymentSpec.model_validate({**least, "replicas": 3, **fields})


def of_kind(target: Target, kind: str, **fields: Any) -> dict[str, Object]:
    """The rendered objects of a kind, by name."""
    made = render(spec(**fields), target=target).documents
    return {one["metadata"]["name"]: one for one in made if one["kind"] == kind}


def pod(made: Object) -> Object:
    found: Object = made["spec"]["template"]
    return found


def container(target: Target = "kserve", **fields: Any) -> Object:
    found: Object = pod(of_kind(target, "Deployment", **fields)["a-router"])["spec"]["containers"][0]
    return found


def selects(selector: Object, one: Object) -> bool:
    labels: Object = one["metadata"].get("labels", {})
    return bool(selector.items() <= labels.items())


def heads_and_workers(target: Target) -> tuple[list[Object], list[Object]]:
    """The pods of each group as its controller makes them."""
    made = preview(render(spec(), target=target).documents, DEFAULT)
    pods = [
        {**one, "metadata": {**one["metadata"], "labels": {**one["metadata"]["labels"]}}}
        for one in made.objects
        if one["kind"] == "Pod"
    ]
    heads = [one for one in pods if one["metadata"]["labels"][_COMPONENT] == "head"]
    return heads, [one for one in pods if one not in heads]


@pytest.mark.parametrize("target", _TARGETS)
def test_each_service_of_a_head_selects_that_head_alone(target: Target) -> None:
    services = of_kind(target, "Service")
    heads, workers = heads_and_workers(target)
    # Of a LeaderWorkerSet the first group is told.
    groups = 3 if target == "kserve" else 1
    assert (len(heads), len(workers)) == (groups, groups)
    for index, head in enumerate(heads):
        selecting = {
            name
            for name, one in services.items()
            if name != "a-api" and selects(one["spec"]["selector"], head)
        }
        assert selecting == {f"a-{index}-api"}
    for worker in workers:
        assert not any(selects(one["spec"]["selector"], worker) for one in services.values())


@pytest.mark.parametrize("target", _TARGETS)
def test_the_router_knows_every_head_by_its_service(target: Target) -> None:
    arguments = container(target)["args"]
    urls = arguments[arguments.index("--worker-urls") + 1 :]
    assert urls == ["http://a-0-api", "http://a-1-api", "http://a-2-api"]
    services = of_kind(target, "Service")
    for url in urls:
        (port,) = services[url.removeprefix("http://")]["spec"]["ports"]
        assert (port["port"], port["targetPort"]) == (80, 8080)


@pytest.mark.parametrize("target", _TARGETS)
def test_clients_are_led_to_the_router_and_its_guards_are_its_own(target: Target) -> None:
    template = pod(of_kind(target, "Deployment")["a-router"])
    heads, workers = heads_and_workers(target)
    clients = of_kind(target, "Service")["a-api"]["spec"]["selector"]
    budgets = of_kind(target, "PodDisruptionBudget")
    policies = of_kind(target, "NetworkPolicy")
    for selector, of_router in (
        (clients, True),
        (budgets["a-router"]["spec"]["selector"]["matchLabels"], True),
        (policies["a-router"]["spec"]["podSelector"]["matchLabels"], True),
        (budgets["a"]["spec"]["selector"]["matchLabels"], False),
        (policies["a"]["spec"]["podSelector"]["matchLabels"], False),
    ):
        assert selects(selector, template) is of_router
        assert all(selects(selector, one) is not of_router for one in heads + workers)
    (to_heads, _) = policies["a-router"]["spec"]["egress"]
    (peer,) = to_heads["to"]
    reached = peer["podSelector"]["matchLabels"]
    assert [selects(reached, one) for one in (*heads, *workers)] == [True] * len(heads) + [False] * len(
        workers
    )


def test_two_pods_of_it_and_one_of_them_stays() -> None:
    assert of_kind("kserve", "Deployment")["a-router"]["spec"]["replicas"] == 2
    assert of_kind("kserve", "PodDisruptionBudget")["a-router"]["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize(
    ("platform", "user"), [("kserve-0.19.0", 2000), ("openshift-ai-2.25", None)], ids=["kserve", "openshift"]
)
def test_it_runs_as_pod_security_restricted_asks(platform: str, user: int | None) -> None:
    made = render(spec(), platform).documents
    (found,) = [one for one in made if one["kind"] == "Deployment"]
    inner = pod(found)["spec"]
    (one,) = inner["containers"]
    context = one["securityContext"]
    assert context.get("runAsUser") == user
    assert context["runAsNonRoot"]
    assert context["readOnlyRootFilesystem"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not context["allowPrivilegeEscalation"]
    assert not inner["automountServiceAccountToken"]
    assert set(one["resources"]["requests"]) == {"cpu", "memory"}


def test_its_probes_are_not_those_that_fail_with_one_group() -> None:
    one = container()
    assert one["readinessProbe"]["httpGet"]["path"] == "/readiness"
    assert one["livenessProbe"]["httpGet"]["port"] == router.METRICS


def test_an_image_of_its_own_and_pull_secrets() -> None:
    assert container()["image"] == router.IMAGE
    fields: Object = {"router": {"image": "registry.example/router:1"}, "imagePullSecrets": ["s"]}
    made = of_kind("kserve", "Deployment", **fields)["a-router"]
    assert container(**fields)["image"] == "registry.example/router:1"
    assert pod(made)["spec"]["imagePullSecrets"] == [{"name": "s"}]


@pytest.mark.parametrize("fields", [{"replicas": 1}, {"router": False}], ids=["one-replica", "switched-off"])
def test_without_a_router_clients_are_led_to_the_heads(fields: Object) -> None:
    made = render(spec(**fields), target="lws")
    assert "router.yaml" not in made.files
    (service,) = made.files["service.yaml"]
    assert service["spec"]["selector"] == {_PART_OF: "a", _COMPONENT: "head"}


def test_without_a_policy_it_has_none() -> None:
    assert not of_kind("kserve", "NetworkPolicy", network={"policy": False})


@pytest.mark.parametrize("target", _TARGETS)
def test_nothing_is_found_against_it(target: Target) -> None:
    documents = from_text(render(spec(), target=target).stream(), "-")
    for one in documents:
        assert foreign(one) is None
    found = validate(documents, (DEFAULT,))
    assert not [one for one in found if one.severity in ("refused", "stalls")]
