"""Objects beyond the recorded cases: layouts, strategies, ports, images, storage, sidecars, generations."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kserve_inputs import VERSIONS, Body, gpus, runtime, service
from vllm_multinode.authoring.preview import Group, preview
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.platforms.kserve.nodes import Layout, layout
from vllm_multinode.platforms.releases import find


def group(version: str = "0.18.1", *, below: Body | None = None, **changes: Any) -> Group:
    found = preview([below or runtime(), service(version=version, **changes)], version)
    assert found.groups, (found.of("refused"), found.of("stalls"))
    return found.groups[0]


def made(of: Group, kind: str, name: str) -> Body:
    return next(one for one in of.objects if one["kind"] == kind and one["metadata"].get("name") == name)


@given(
    version=st.sampled_from(VERSIONS),
    tensor=st.integers(1, 16),
    pipeline=st.integers(2, 8),
    head=st.integers(0, 16),
    worker=st.integers(0, 16),
    mp=st.booleans(),
)
def test_nodes_and_gpus_are_those_of_the_contract(
    version: str, tensor: int, pipeline: int, head: int, worker: int, mp: bool
) -> None:
    below = runtime(annotations={"multinode/executor-backend": "mp"} if mp else None)
    asked: Body = {
        "model": {"resources": gpus(head)} if head else {},
        "worker": {
            "tensorParallelSize": tensor,
            "pipelineParallelSize": pipeline,
            "containers": [{"name": "worker-container", "resources": gpus(worker)}] if worker else None,
        },
    }
    found = preview([below, service(version=version, **asked)], version)
    try:
        expected = layout(
            find(version),
            "mp" if mp else "ray",
            tensor_parallel=tensor,
            pipeline_parallel=pipeline,
            head_gpus=head,
            worker_gpus=worker,
        )
    except MultinodeError:
        assert "gpu-allocation" in {one.rule for one in found.of("stalls")}
        assert found.groups == ()
        return
    head_role, worker_role = found.groups[0].roles
    assert Layout(found.groups[0].nodes, head_role.gpus, worker_role.gpus) == expected
    assert worker_role.replicas == expected.nodes - 1


def test_a_gpu_type_of_none_is_not_the_containers_type() -> None:
    zero = {"resources": {"limits": {"nvidia.com/gpu": "0", "amd.com/gpu": "1"}}}
    limits = group(model=zero).roles[0].pod["containers"][0]["resources"]["limits"]
    assert (limits["nvidia.com/gpu"], limits["amd.com/gpu"]) == ("0", "1")


def test_a_generation_names_the_headless_services() -> None:
    found = preview([runtime(), service()], "0.18.1", generation=7)
    names = {one["metadata"].get("name") for one in found.objects}
    assert {"llm-head-7", "llm-workers-7"} <= names
    variables = {
        one["name"]: one.get("value") for one in found.groups[0].roles[1].pod["containers"][0]["env"]
    }
    assert variables["HEAD_SVC"] == "llm-head-7"
    assert found.groups[0].objects[0]["metadata"]["labels"]["isvc.generation"] == "7"


@pytest.mark.parametrize(
    ("version", "given", "head", "worker"),
    [
        ("0.18.1", None, ("25%", "25%"), ("100%", "0%")),
        ("0.18.1", {"type": "Recreate"}, None, None),
        ("0.18.1", {"type": "RollingUpdate"}, ("25%", "25%"), ("100%", "0%")),
        ("0.18.1", {"rollingUpdate": {"maxSurge": 2}}, (2, "25%"), (2, "25%")),
        ("0.15.2", {"rollingUpdate": {"maxSurge": 2}}, (2, "25%"), ("100%", "0%")),
        (
            "0.18.1",
            {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            ("25%", 1),
            ("100%", "0%"),
        ),
    ],
)
def test_strategies(version: str, given: Body | None, head: Any, worker: Any) -> None:
    found = group(
        version,
        deploymentStrategy=given,
        annotations={
            "serving.kserve.io/deploymentMode": "RawDeployment" if version == "0.15.2" else "Standard"
        },
    )
    for name, expected in (("llm-predictor", head), ("llm-predictor-worker", worker)):
        how = made(found, "Deployment", name)["spec"]["strategy"]
        if expected is None:
            assert how == {"type": "Recreate"}
        else:
            rolling = {"maxSurge": expected[0], "maxUnavailable": expected[1]}
            assert how == {"type": "RollingUpdate", "rollingUpdate": rolling}


def test_every_port_of_the_head_becomes_a_service_port() -> None:
    ports = [{"containerPort": 8080, "name": "http"}, {"containerPort": 9000, "name": "h2c"}]
    found = group(below=runtime(head={"ports": ports}))
    assert made(found, "Service", "llm-predictor")["spec"]["ports"] == [
        {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080},
        {
            "name": "h2c",
            "protocol": "TCP",
            "port": 9000,
            "targetPort": 9000,
            "appProtocol": "kubernetes.io/h2c",
        },
    ]


def test_a_head_without_ports_and_probe_gets_both_on_8080() -> None:
    found = group(below=runtime(head={"ports": None}))
    assert made(found, "Service", "llm-predictor")["spec"]["ports"][0]["targetPort"] == 8080
    probe = found.roles[0].pod["containers"][0]["readinessProbe"]
    assert probe["tcpSocket"] == {"port": 8080}
    assert "readinessProbe" not in found.roles[1].pod["containers"][0]


def test_sidecars_of_runtime_and_service_join_the_head_alone() -> None:
    below = runtime()
    below["spec"]["containers"].append({"name": "exporter", "image": "e:1"})
    found = group(below=below, containers=[{"name": "proxy", "image": "p:1"}])
    assert [one["name"] for one in found.roles[0].pod["containers"]] == [
        "kserve-container",
        "exporter",
        "proxy",
    ]
    assert [one["name"] for one in found.roles[1].pod["containers"]] == ["worker-container"]
    exporter = found.roles[0].pod["containers"][1]
    assert exporter["env"] == [{"name": "INFERENCE_SERVICE_NAME", "value": "llm"}]


def test_placeholders_are_filled_in_for_the_head() -> None:
    args = ["--name={{.Name}}", "{{ .Namespace }}", "{{.Labels.team}}/{{.Annotations.no}}"]
    body = service()
    body["metadata"] |= {"namespace": "ns", "labels": {"team": "ml"}}
    found = preview([runtime(head={"args": args}), body], "0.18.1").groups[0]
    assert found.roles[0].pod["containers"][0]["args"] == ["--name=llm", "ns", "ml/"]


@pytest.mark.parametrize(
    ("uri", "claim", "path"),
    [("pvc://models", "models", None), ("pvc://a/b/c", "a", "b/c"), ("pvc://models/", "models", None)],
)
def test_a_claim_is_mounted_into_both_roles(uri: str, claim: str, path: str | None) -> None:
    found = group(model={"storageUri": uri})
    for role in found.roles:
        mount = role.pod["containers"][0]["volumeMounts"][-1]
        assert mount["mountPath"] == "/mnt/models"
        assert mount.get("subPath") == path
        assert mount["readOnly"]
        assert {"name": "kserve-pvc-source", "persistentVolumeClaim": {"claimName": claim}} in role.pod[
            "volumes"
        ]


def test_a_claim_may_be_written_to() -> None:
    found = group(annotations={"storage.kserve.io/readonly": "false"})
    assert "readOnly" not in found.roles[0].pod["containers"][0]["volumeMounts"][-1]


@pytest.mark.parametrize("version", ["0.17.1", "0.18.1", "0.19.0"])
def test_an_oci_model_comes_in_a_modelcar(version: str) -> None:
    context = {"readOnlyRootFilesystem": True}
    found = group(version, model={"storageUri": "oci://r/m:1", "securityContext": context})
    head = found.roles[0].pod
    assert [one["name"] for one in head["containers"]] == ["kserve-container", "modelcar"]
    assert [one["name"] for one in head["initContainers"]] == ["modelcar-init"]
    assert head["shareProcessNamespace"]
    kept = context if version != "0.17.1" else {}
    assert head["containers"][0]["securityContext"] == {**kept, "runAsUser": 1010}
    assert {"name": "MODEL_INIT_MODE", "value": "async"} in head["containers"][0]["env"]
    assert [one["name"] for one in found.roles[1].pod["containers"]] == ["worker-container", "modelcar"]


@pytest.mark.parametrize(
    ("version", "image", "wanted", "expected"),
    [
        ("0.18.1", "a/b:1", "2", "a/b:2"),
        ("0.18.1", "a/b", "2", "a/b:2"),
        ("0.18.1", "host:5000/b", "2", "host:5000/b:2"),
        ("0.18.1", "a/b@sha256:00", "2", "a/b@sha256:00"),
        ("0.18.1", "a/b:1", None, "a/b:1"),
    ],
)
def test_a_runtime_version_is_the_heads_tag(
    version: str, image: str, wanted: str | None, expected: str
) -> None:
    found = group(version, below=runtime(head={"image": image}), model={"runtimeVersion": wanted})
    assert found.roles[0].pod["containers"][0]["image"] == expected


def test_v0_20_takes_a_cpu_image_for_a_vllm_server_without_gpu_limit() -> None:
    below = runtime()
    below["metadata"]["annotations"] = {"serving.kserve.io/server-type": "vllmserver"}
    assert (
        group("0.20.0", below=below).roles[0].pod["containers"][0]["image"]
        == "example.com/vllm-multinode-cpu:1"
    )
    with_gpu = group("0.20.0", below=below, model={"resources": gpus(1)})
    assert with_gpu.roles[0].pod["containers"][0]["image"] == "example.com/vllm-multinode:1"


def test_labels_and_annotations_reach_pods_and_services() -> None:
    below = runtime(labels={"of": "runtime", "who": "runtime"}, annotations={"of": "runtime"})
    below["spec"]["workerSpec"] |= {"labels": {"of": "worker"}, "annotations": {"of": "worker"}}
    body = service(labels={"who": "predictor"}, annotations={"who": "service"})
    body["metadata"]["labels"] = {"who": "service"}
    found = preview([below, body], "0.18.1").groups[0]
    head = made(found, "Deployment", "llm-predictor")["metadata"]
    worker = made(found, "Deployment", "llm-predictor-worker")["metadata"]
    assert (head["labels"]["of"], head["labels"]["who"]) == ("runtime", "predictor")
    assert (worker["labels"]["of"], worker["labels"]["who"]) == ("worker", "predictor")
    assert (head["annotations"]["of"], worker["annotations"]["of"]) == ("runtime", "worker")
    assert head["annotations"]["who"] == "service"


def test_pod_fields_of_the_service_reach_their_own_role() -> None:
    fields: Body = {
        "serviceAccountName": "sa",
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 120,
        "securityContext": {
            "fsGroup": 1,
            "sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "1 2"}],
        },
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 1}],
    }
    found = group(**fields, worker={"priorityClassName": "high"})
    head, worker = (role.pod for role in found.roles)
    assert {key: head[key] for key in fields} == fields
    assert worker["priorityClassName"] == "high"
    assert "serviceAccountName" not in worker
    assert worker["terminationGracePeriodSeconds"] == 30


def test_one_node_is_a_head_with_all_gpus_and_no_workers() -> None:
    found = group(
        model={"resources": gpus(8)},
        worker={
            "tensorParallelSize": 4,
            "pipelineParallelSize": 2,
            "containers": [{"name": "worker-container", "resources": gpus(4)}],
        },
    )
    assert found.nodes == 1
    assert [(role.replicas, role.gpus) for role in found.roles] == [(1, 8), (0, 0)]
    assert not [
        one for one in found.objects if one["kind"] == "Pod" and "worker" in one["metadata"]["generateName"]
    ]


def test_a_preview_is_deterministic_and_changes_nothing() -> None:
    bodies = [runtime(), service()]
    before = [repr(one) for one in bodies]
    assert preview(bodies, "0.18.1") == preview(bodies, "0.18.1")
    assert [repr(one) for one in bodies] == before
