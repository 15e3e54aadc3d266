"""Which files a spec becomes, and what stands beside the service."""

from typing import Any

import pytest

from vllm_multinode.authoring.render import Target, render, serving_runtime
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.contract.errors import MultinodeError

_LEAST: dict[str, Any] = {"name": "a", "model": {"claim": "x"}, "parallelism": {"tensor": 4, "pipeline": 2}}


def spec(fields: dict[str, Any] | None = None) -> DeploymentSpec:
    return DeploymentSpec.model_validate(_LEAST | (fields or {}))


@pytest.mark.parametrize(
    ("fields", "target", "files"),
    [
        pytest.param(
            {}, "kserve", ["serving-runtime.yaml", "inference-service.yaml", "launcher.yaml"], id="least"
        ),
        pytest.param({"runtime": "r"}, "kserve", ["inference-service.yaml"], id="runtime-is-there"),
        pytest.param(
            {"runtime": {"name": "r"}},
            "kserve",
            ["serving-runtime.yaml", "inference-service.yaml", "launcher.yaml"],
            id="own-runtime",
        ),
        pytest.param(
            {"runtime": {"install": "image"}},
            "kserve",
            ["serving-runtime.yaml", "inference-service.yaml"],
            id="image-with-the-launcher",
        ),
        pytest.param(
            {"executor": "ray"},
            "kserve",
            ["serving-runtime.yaml", "inference-service.yaml", "launcher.yaml"],
            id="the-last-release-with-ray",
        ),
        pytest.param(
            {"executor": "ray", "accelerator": {"type": "amd"}},
            "kserve",
            ["serving-runtime.yaml", "inference-service.yaml"],
            id="image-with-ray",
        ),
        pytest.param(
            {"executor": "ray", "image": "a/vllm-with-ray:1"},
            "kserve",
            ["serving-runtime.yaml", "inference-service.yaml", "launcher.yaml"],
            id="ray-in-an-image-of-vllm",
        ),
        pytest.param(
            {
                "model": {"claim": "x", "createClaim": {"size": "1Gi"}},
                "replicas": 2,
            },
            "kserve",
            [
                "serving-runtime.yaml",
                "inference-service.yaml",
                "service.yaml",
                "router.yaml",
                "claim.yaml",
                "launcher.yaml",
            ],
            id="everything",
        ),
        pytest.param({"runtime": "r"}, "lws", ["leader-worker-set.yaml", "service.yaml"], id="lws"),
    ],
)
def test_files(fields: dict[str, Any], target: Any, files: list[str]) -> None:
    made = render(spec(fields), target=target)
    guards = ["network-policy.yaml", "disruption-budget.yaml", "secrets.yaml"]
    launcher = [name for name in files if name == "launcher.yaml"]
    meant = [*(name for name in files if name not in launcher), *guards, *launcher]
    assert list(made.files) == [*meant, "kustomization.yaml"]
    assert made.files["kustomization.yaml"][0]["resources"] == meant


def test_replicas_are_services_of_their_own() -> None:
    made = render(spec({"replicas": 3, "namespace": "n"}))
    names = [one["metadata"]["name"] for one in made.files["inference-service.yaml"]]
    assert names == ["a-0", "a-1", "a-2"]
    (service,) = made.files["service.yaml"]
    assert service["metadata"] == {
        "name": "a-api",
        "namespace": "n",
        "labels": {"app.kubernetes.io/managed-by": "vllm-multinode", "app.kubernetes.io/part-of": "a"},
    }
    assert service["spec"]["selector"] == {
        "app.kubernetes.io/instance": "a",
        "app.kubernetes.io/component": "router",
    }
    (runtime,) = made.files["serving-runtime.yaml"]
    assert runtime["spec"]["labels"] == {"app.kubernetes.io/component": "head"}
    assert runtime["spec"]["workerSpec"]["labels"] == {"app.kubernetes.io/component": "worker"}


def test_claim() -> None:
    create = {"size": "1Gi", "storageClassName": "s", "accessModes": ["ReadWriteMany"]}
    (claim,) = render(spec({"model": {"claim": "x", "createClaim": create}})).files["claim.yaml"]
    assert claim["metadata"]["name"] == "x"
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "s",
        "resources": {"requests": {"storage": "1Gi"}},
    }


def test_network_policy_opens_the_api_alone() -> None:
    (policy,) = render(spec({"network": {"policy": True}})).files["network-policy.yaml"]
    group = {"matchLabels": {"app.kubernetes.io/part-of": "a"}}
    clients, members, monitoring = policy["spec"]["ingress"]
    assert (clients, members) == (
        {"ports": [{"port": 8080, "protocol": "TCP"}]},
        {"from": [{"podSelector": group}]},
    )
    assert [port["port"] for port in monitoring["ports"]] == [8081]


def test_network_policy_takes_whom_the_user_names() -> None:
    zone = {"namespaceSelector": {"matchLabels": {"zone": "dmz"}}}
    network = {"clientsFrom": ["10.0.0.0/8", zone], "statusFrom": ["fd00::/8"]}
    (policy,) = render(spec({"network": network})).files["network-policy.yaml"]
    clients, _, status = policy["spec"]["ingress"]
    assert clients["from"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}, zone]
    assert status["from"][-1] == {"ipBlock": {"cidr": "fd00::/8"}}


@pytest.mark.parametrize(
    ("way", "kinds"),
    [
        pytest.param("route", ["Route"], id="route"),
        pytest.param("gateway", ["Gateway", "HTTPRoute"], id="gateway"),
        pytest.param("ingress", ["Ingress"], id="ingress"),
    ],
)
@pytest.mark.parametrize("target", ["kserve", "lws"])
def test_what_publishes_leads_to_the_heads_and_asks_for_a_key(
    way: str, kinds: list[str], target: Target
) -> None:
    made = render(spec({"publish": way}), target=target)
    assert [one["kind"] for one in made.files["publish.yaml"]] == kinds
    (service,) = made.files["service.yaml"]
    text = str(made.files["publish.yaml"])
    assert f"'name': '{service['metadata']['name']}'" in text
    assert "tls" in text
    assert "VLLM_API_KEY" in str(made.documents)
    names = [one["metadata"]["name"] for one in made.files["secrets.yaml"] if one["kind"] == "Secret"]
    assert names == ["a-token", "a-api-key"]


def test_the_api_key_is_the_head_s_alone() -> None:
    (service,) = render(spec({"publish": "route"})).files["inference-service.yaml"]
    predictor = service["spec"]["predictor"]
    assert "VLLM_API_KEY" in str(predictor["model"]["env"])
    assert "VLLM_API_KEY" not in str(predictor["workerSpec"])


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"tokenSecret": "mine"}, id="own-token"),
        pytest.param({"tokenSecret": False}, id="no-token"),
        pytest.param({"tokenSecret": "mine", "publish": "route", "apiKeySecret": "mine"}, id="own-key"),
        pytest.param({"tokenSecret": "mine", "publish": "route", "apiKeySecret": False}, id="no-key"),
    ],
)
def test_nothing_is_filled_that_a_user_names_or_refuses(fields: dict[str, Any]) -> None:
    made = render(spec(fields))
    assert "secrets.yaml" not in made.files
    assert {one["kind"] for one in made.documents}.isdisjoint({"Secret", "Role", "Job"})


def test_a_route_that_reencrypts_speaks_tls_to_the_engine() -> None:
    made = render(spec({"publish": {"via": "route", "reencrypt": True}}))
    (service,) = made.files["inference-service.yaml"]
    predictor = service["spec"]["predictor"]
    assert "--ssl-certfile=/run/secrets/serving-cert/tls.crt" in predictor["model"]["args"]
    assert predictor["volumes"][-1]["secret"]["secretName"] == "a-api"
    assert "serving-cert" not in str(predictor["workerSpec"])
    (api,) = made.files["service.yaml"]
    assert api["metadata"]["annotations"] == {"service.beta.openshift.io/serving-cert-secret-name": "a-api"}


def test_network_policy_lets_a_groups_pods_reach_no_foreign_head() -> None:
    (policy,) = render(spec({"network": {"policy": True}})).files["network-policy.yaml"]
    assert "Egress" in policy["spec"]["policyTypes"]
    to_group, *elsewhere = policy["spec"]["egress"]
    assert to_group == {"to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "a"}}}]}
    assert {port["port"] for rule in elsewhere for port in rule["ports"]} == {53, 5353}


def test_only_a_proxy_before_the_head_reaches_the_kubernetes_api() -> None:
    (policy,) = render(spec({}), "openshift-ai-3.0").files["network-policy.yaml"]
    reached = {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}
    assert reached == {53, 5353, 443, 6443}


@pytest.mark.parametrize("target", ["kserve", "lws"])
@pytest.mark.parametrize(
    ("fields", "told"),
    [
        pytest.param({}, True, id="closed"),
        pytest.param({"network": {"egressTo": ["0.0.0.0/0"]}}, False, id="open"),
        pytest.param({"network": {"policy": False}}, False, id="no-policy"),
        pytest.param({"env": {"TIKTOKEN_ENCODINGS_BASE": "/mnt/models/enc"}}, False, id="on-the-claim"),
        pytest.param({"model": {"claim": "x", "path": "llama"}}, False, id="another-model"),
    ],
)
def test_what_gpt_oss_downloads_is_told(fields: dict[str, Any], told: bool, target: Any) -> None:
    model = {"model": {"claim": "x", "path": "openai/gpt-oss-120b"}}
    notes = render(spec({**model, **fields}), target=target).notes
    assert any("vocabulary of gpt-oss" in note for note in notes) is told


def test_whom_the_user_names_is_reached_too() -> None:
    made = render(spec({"network": {"egressTo": ["10.9.0.0/16"]}}))
    (policy,) = made.files["network-policy.yaml"]
    assert policy["spec"]["egress"][-1] == {"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]}


def test_the_same_runtime_for_every_spec() -> None:
    """Two services share it: nothing of one may change the other."""
    other = {
        "image": "i",
        "env": {"A": "b"},
        "sharedMemory": "1Gi",
        "accelerator": {"type": "amd"},
        "drain": 9,
    }
    plain, changed = (render(spec(one)).files["serving-runtime.yaml"] for one in ({}, other))
    assert plain == changed


@pytest.mark.parametrize("executor", ["ray", "mp"])
def test_runtime_alone(executor: Any) -> None:
    runtime = serving_runtime(executor, "none", image="i:1", name="n")
    head, worker = runtime["spec"]["containers"][0], runtime["spec"]["workerSpec"]["containers"][0]
    assert (head["name"], worker["name"]) == ("kserve-container", "worker-container")
    assert (head["args"], worker["args"]) == (["head"], ["worker"])
    for container in (head, worker):
        assert container["image"] == "i:1"
        assert {"name": "MULTINODE_EXECUTOR", "value": executor} in container["env"]
        assert {"name": "MULTINODE_ACCELERATOR", "value": "cpu"} in container["env"]
        assert {probe["httpGet"]["port"] for key, probe in container.items() if key.endswith("Probe")} == {
            8081
        }
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert [port["containerPort"] for port in head["ports"]] == [8080]
    assert runtime["spec"]["annotations"].get("multinode/executor-backend") == (
        "mp" if executor == "mp" else None
    )


def test_grace_period_covers_the_stop() -> None:
    made = render(spec({"drain": 300}))
    (runtime,) = made.files["serving-runtime.yaml"]
    (service,) = made.files["inference-service.yaml"]
    sleep = int(runtime["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1])
    # 10 s are the launcher's own bound on ending an engine.
    assert service["spec"]["predictor"]["terminationGracePeriodSeconds"] >= sleep + 300 + 10


def test_lws_wants_a_claim() -> None:
    with pytest.raises(MultinodeError, match=r"model\.oci"):
        render(spec({"model": {"oci": "oci://a/b"}}), target="lws")


@pytest.mark.parametrize(
    ("strategy", "rollout"),
    [
        pytest.param("Recreate", None, id="recreate"),
        pytest.param(
            "RollingUpdate",
            {"type": "RollingUpdate", "rollingUpdateConfiguration": {"maxUnavailable": 0, "maxSurge": 1}},
            id="rolling",
        ),
    ],
)
def test_lws_group(strategy: str, rollout: object) -> None:
    made = render(spec({"replicas": 2, "deploymentStrategy": strategy}), target="lws")
    (group,) = made.files["leader-worker-set.yaml"]
    template = group["spec"]["leaderWorkerTemplate"]
    assert (group["spec"]["replicas"], template["size"], template["restartPolicy"]) == (2, 2, "None")
    assert group["spec"].get("rolloutStrategy") == rollout
    # LeaderWorkerSet's own headless Service has the group's name.
    assert made.files["service.yaml"][0]["metadata"]["name"] != group["metadata"]["name"]


def test_lws_environment_is_what_the_launcher_reads() -> None:
    from vllm_multinode.launcher.settings import read_settings

    (group,) = render(spec({"tokenSecret": False}), target="lws").files["leader-worker-set.yaml"]
    injected = {"LWS_LEADER_ADDRESS": "a-0.a.n", "LWS_GROUP_SIZE": "2", "LWS_WORKER_INDEX": "0"}
    for role, key in (("head", "leaderTemplate"), ("worker", "workerTemplate")):
        container = group["spec"]["leaderWorkerTemplate"][key]["spec"]["containers"][0]
        given = {one["name"]: one.get("value", "10.0.0.1") for one in container["env"]}
        settings = read_settings(role, given | injected, tuple(container["args"][1:]), "host")  # type: ignore[arg-type]
        assert settings.sizes is not None
        assert (settings.sizes.tensor_parallel, settings.sizes.pipeline_parallel, settings.sizes.nodes) == (
            4,
            2,
            2,
        )
        assert (settings.gpus, settings.executor) == (4, "mp")
        assert settings.head_host == (None if role == "head" else "a-0.a.n")


@pytest.mark.parametrize(
    ("accelerator", "recommended"),
    [
        pytest.param("amd", '["amd.com/gpu"]', id="one"),
        pytest.param("none", None, id="none"),
    ],
)
def test_what_the_dashboard_of_openshift_ai_reads(accelerator: Any, recommended: str | None) -> None:
    annotations = serving_runtime("ray", accelerator)["metadata"]["annotations"]
    assert annotations.get("opendatahub.io/recommended-accelerators") == recommended
    assert annotations["openshift.io/display-name"] == "vLLM over several nodes (Ray)"
