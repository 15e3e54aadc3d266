"""What `multinode render` has written is converted to the spec that it was rendered from."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from vllm_multinode.authoring import kept
from vllm_multinode.authoring.folder import write
from vllm_multinode.authoring.render import KUSTOMIZATION, Rendered, Target, render
from vllm_multinode.authoring.spec import DeploymentSpec, load
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.convert import Conversion, convert
from vllm_multinode.convert.sources import read_sources
from vllm_multinode.k8s.documents import Document, Reading, from_text
from vllm_multinode.platforms.releases import find

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "tests/data/authoring").glob("*/*/kustomization.yaml"))

BASE: Mapping[str, Any] = {
    "name": "big",
    "namespace": "models",
    "model": {"claim": "models", "path": "big"},
    "parallelism": {"tensor": 4, "pipeline": 2},
}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "least": {},
    "source": {"model": {"source": "hf://org/big", "size": "100Gi", "sourceSecret": "hub"}},
    "source-in-a-claim": {"model": {"source": "s3://a/b", "claim": "all", "size": "9Gi", "path": "a/b"}},
    "ray": {"executor": "ray"},
    "ray-with-an-image": {"executor": "ray", "image": "example.com/vllm-ray:1"},
    "image": {"image": "example.com/vllm:1", "imagePullSecrets": ["pull"]},
    "runtime-that-is-there": {"runtime": "ours"},
    "runtime-under-a-name": {"runtime": {"name": "ours", "install": "image"}, "image": "example.com/x:1"},
    "amd": {"accelerator": {"type": "amd", "product": "MI300X"}},
    "intel": {"accelerator": {"type": "intel"}},
    "gaudi": {"accelerator": {"type": "gaudi"}, "parallelism": {"tensor": 8, "pipeline": 2}},
    "no-accelerator": {"accelerator": {"type": "none"}, "parallelism": {"tensor": 1, "pipeline": 2}},
    "resource": {"accelerator": {"resource": "nvidia.com/mig-3g.40gb", "perNode": 4}},
    "arguments-as-a-list": {"arguments": ["--enforce-eager", "--seed=3"]},
    "arguments": {"arguments": {"seed": 3, "enforce-eager": True}, "context": 8192},
    "env": {"env": {"A": "1", "B": {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}}},
    "resources": {"resources": {"cpu": 8, "memory": "64Gi", "other": {"hugepages-2Mi": "8Gi"}}},
    "labels": {"labels": {"team": "a"}, "annotations": {"example.com/note": "b"}},
    "replicas": {"replicas": 3},
    "replicas-without-a-router": {"replicas": 2, "router": False},
    "router-image": {"replicas": 2, "router": {"image": "example.com/router:1"}},
    "queue": {"queue": "gpus"},
    "route": {"publish": "route"},
    "route-with-a-host": {"publish": {"via": "route", "host": "llm.example.com", "reencrypt": True}},
    "gateway": {"publish": {"via": "gateway", "className": "istio", "host": "llm.example.com"}},
    "ingress": {"publish": {"via": "ingress", "tlsSecret": "cert", "annotations": {"a.example.com/b": "c"}}},
    "api-key": {"apiKeySecret": {"name": "keys", "key": "clients"}},
    "no-token": {"tokenSecret": False},
    "token": {"tokenSecret": {"name": "mine", "key": "word"}},
    "no-policy": {"network": {"policy": False}},
    "clients": {"network": {"clientsFrom": ["10.0.0.0/8"], "statusFrom": ["10.1.0.0/16"]}},
    "rdma": {"network": {"rdma": {"resource": "rdma/hca", "ipcLock": True, "env": {"NCCL_IB_HCA": "mlx5"}}}},
    "network": {"network": {"portRange": [30000, 32767], "attachments": ["fast"]}},
    "no-budget": {"disruptionBudget": False},
    "monitoring": {"monitoring": True},
    "drain": {"drain": 120, "startup": 7200, "deploymentStrategy": "RollingUpdate"},
    "placement": {
        "placement": {
            "nodeSelector": {"a": "b"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname"}],
            "priorityClassName": "high",
            "head": {"nodeSelector": {"pool": "front"}},
        }
    },
    "nodes": {"placement": {"preferredNodes": ["a", "b"], "topologyKey": "rack"}},
    "pool": {"placement": {"pool": {"labels": {"pool": "h100"}, "nodes": 4}}},
    "security": {"podSecurityContext": {"fsGroup": 5}, "securityContext": {"readOnlyRootFilesystem": False}},
}  # fmt: skip
CASES = [
    pytest.param(name, target, id=f"{name}-{target}") for name in OPTIONS for target in ("kserve", "lws")
]


def made_of(spec: DeploymentSpec, platform: str, target: Target, folder: Path) -> Rendered:
    made = render(spec, platform, target)
    write(folder, kept.with_spec(made, spec, find(platform), target))
    return made


def converted(folder: Path) -> Conversion:
    """Without kustomize, whose build of the same objects has its own test."""
    return convert([one for one in read(folder) if one.kind != "Kustomization"])


def read(folder: Path) -> list[Document]:
    documents: list[Document] = []
    for path in sorted(folder.glob("*.yaml")):
        documents += from_text(path.read_text(), str(path))
    return documents


def in_memory(made: Rendered, spec: DeploymentSpec, target: Target, folder: Path | None = None) -> Conversion:
    """What was rendered, as a reader has it; with the spec beside it where there is a folder for it."""
    if folder is not None:
        (folder / kept.FILE).write_text(kept.with_spec(made, spec, find("kserve-0.19.0"), target)[kept.FILE])
    file = "-" if folder is None else str(folder / "all.yaml")
    bodies = json.loads(json.dumps(made.documents))
    return convert([Document(file, index, body) for index, body in enumerate(bodies)])


def spec_of(name: str) -> DeploymentSpec:
    return DeploymentSpec.model_validate({**BASE, **OPTIONS[name]})


def not_carried(conversion: Conversion) -> list[str]:
    return [f"{row.document} {row.source_path}" for row in conversion.rows if row.status != "carried"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parts[-3]}-{path.parts[-2]}")
def test_every_example_comes_back(example: Path, tmp_path: Path) -> None:
    spec = load(example.parents[1] / "spec.yaml")
    target: Target = "lws" if example.parent.name == "lws" else "kserve"
    made_of(spec, "kserve-0.19.0", target, tmp_path)
    conversion = converted(tmp_path)
    assert [service.spec for service in conversion.services] == [spec]
    assert conversion.services[0].fields == kept.fields_of(spec)
    assert (conversion.code, not_carried(conversion)) == (ExitCode.OK, [])


@pytest.mark.parametrize(("name", "target"), CASES)
def test_every_option_comes_back(name: str, target: Target, tmp_path: Path) -> None:
    spec = spec_of(name)
    conversion = in_memory(render(spec, target=target), spec, target, tmp_path)
    assert [service.spec for service in conversion.services] == [spec]
    assert (conversion.code, not_carried(conversion)) == (ExitCode.OK, [])


@pytest.mark.parametrize(("name", "target"), CASES)
def test_without_the_spec_one_is_found_that_renders_the_same(name: str, target: Target) -> None:
    made = render(spec_of(name), target=target)
    conversion = in_memory(made, spec_of(name), target)
    (service,) = conversion.services
    assert service.spec is not None
    assert not_carried(conversion) == []
    again = render(service.spec, service.platform, target)
    assert kept.by_key(again.documents).keys() == kept.by_key(made.documents).keys()


@pytest.mark.parametrize(
    "platform", ["kserve-0.15.2", "kserve-0.18.1", "openshift-ai-2.16", "openshift-ai-3.4"]
)
@pytest.mark.parametrize("has_spec", [True, False], ids=["kept", "gone"])
def test_it_stays_for_the_release_that_it_was_rendered_for(
    platform: str, *, has_spec: bool, tmp_path: Path
) -> None:
    spec = spec_of("route")
    made = made_of(spec, platform, "kserve", tmp_path)
    if not has_spec:
        (tmp_path / kept.FILE).unlink()
    conversion = converted(tmp_path)
    (service,) = conversion.services
    assert service.spec is not None
    assert render(service.spec, service.platform).documents == made.documents
    assert not_carried(conversion) == []


def edited(folder: Path, file: str, change: Any) -> None:
    path = folder / file
    bodies = list(yaml.safe_load_all(path.read_text()))
    change(bodies[0])
    path.write_text("---\n".join(yaml.safe_dump(body) for body in bodies))


def set_at(*path: str | int, value: Any) -> Any:
    def change(body: Any) -> None:
        place = body
        for step in path[:-1]:
            place = place.setdefault(step, {}) if isinstance(step, str) else place[step]
        place[path[-1]] = value

    return change


MODEL = ("spec", "predictor", "model")


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        pytest.param(set_at(*MODEL, "storageUri", value="pvc://models/new"), "model.path", "new", id="model"),
        pytest.param(set_at(*MODEL, "args", value=["--seed=4"]), "arguments", {"seed": 4}, id="arguments"),
        pytest.param(
            set_at(*MODEL, "args", value=["--max-model-len=4096"]), "context", 4096, id="context"
        ),
        pytest.param(
            set_at("spec", "predictor", "workerSpec", "pipelineParallelSize", value=4),
            "parallelism", {"tensor": 4, "pipeline": 4}, id="pipeline",
        ),
        pytest.param(
            set_at("spec", "predictor", "deploymentStrategy", "type", value="RollingUpdate"),
            "deploymentStrategy", "RollingUpdate", id="strategy",
        ),
    ],
)  # fmt: skip
def test_what_was_changed_by_hand_is_taken_into_the_spec(
    change: Any, field: str, value: Any, tmp_path: Path
) -> None:
    made_of(spec_of("least"), "kserve-0.19.0", "kserve", tmp_path)
    edited(tmp_path, "inference-service.yaml", change)
    (service,) = converted(tmp_path).services
    place: Any = service.fields
    for step in field.split("."):
        place = place[step]
    assert place == value
    assert any(f"Changed by hand since: {field.partition('.')[0]}" in note for note in service.notes)


@pytest.mark.parametrize(
    ("file", "change", "path"),
    [
        pytest.param(
            "network-policy.yaml", set_at("metadata", "annotations", value={"a": "b"}),
            "NetworkPolicy big metadata.annotations.a", id="annotation",
        ),
        pytest.param(
            "inference-service.yaml", set_at("metadata", "labels", "team", value="b"),
            "InferenceService big metadata.labels.team", id="label-of-one-object-alone",
        ),
        pytest.param(
            "serving-runtime.yaml", set_at("spec", "containers", 0, "image", value="example.com/mine:1"),
            "ServingRuntime vllm-multinode-mp spec.containers[0].image", id="image-of-the-runtime",
        ),
        pytest.param(
            "inference-service.yaml", set_at("spec", "predictor", "hostNetwork", value=True),
            "InferenceService big spec.predictor.hostNetwork", id="field-that-no-spec-has",
        ),
        pytest.param(
            "inference-service.yaml",
            lambda body: body["spec"]["predictor"]["model"].pop("volumeMounts"),
            "InferenceService big spec.predictor.model.volumeMounts", id="field-taken-away",
        ),
        pytest.param(
            "claim.yaml", set_at("spec", "volumeName", value="pv-1"),
            "PersistentVolumeClaim big-model spec.volumeName", id="volume-of-the-claim",
        ),
    ],
)  # fmt: skip
def test_what_no_field_says_is_reported(file: str, change: Any, path: str, tmp_path: Path) -> None:
    spec = DeploymentSpec.model_validate({**BASE, "model": {"source": "hf://org/big", "size": "9Gi"}})
    made_of(spec, "kserve-0.19.0", "kserve", tmp_path)
    edited(tmp_path, file, change)
    conversion = converted(tmp_path)
    assert conversion.services[0].spec == spec
    assert (conversion.code, not_carried(conversion)) == (ExitCode.NOT_CARRIED, [path])


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        pytest.param("disruption-budget.yaml", {"disruptionBudget": False}, id="budget"),
        pytest.param("network-policy.yaml", {"network": {"policy": False}}, id="policy"),
    ],
)
def test_a_file_taken_away_is_a_field(file: str, fields: dict[str, Any], tmp_path: Path) -> None:
    made_of(spec_of("least"), "kserve-0.19.0", "kserve", tmp_path)
    (tmp_path / file).unlink()
    conversion = converted(tmp_path)
    assert conversion.services[0].fields == {**kept.fields_of(spec_of("least")), **fields}
    assert conversion.code == ExitCode.OK


def test_a_file_taken_away_that_no_field_says_is_reported(tmp_path: Path) -> None:
    made_of(spec_of("monitoring"), "kserve-0.19.0", "kserve", tmp_path)
    edited(tmp_path, "monitoring.yaml", lambda body: body["metadata"].update(name="mine"))
    conversion = converted(tmp_path)
    assert "The spec renders a PodMonitor, and the source has none." in {row.why for row in conversion.rows}
    assert any(row.document == "PodMonitor mine" for row in conversion.rows)


def test_a_spec_that_was_changed_after_rendering_is_not_believed(tmp_path: Path) -> None:
    made_of(spec_of("least"), "kserve-0.19.0", "kserve", tmp_path)
    path = tmp_path / kept.FILE
    path.write_text(path.read_text().replace("tensor: 4", "tensor: 2"))
    (service,) = converted(tmp_path).services
    assert service.fields["parallelism"] == {"tensor": 4, "pipeline": 2}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"name: x\n", b"# target: kserve\n: :\n"])
def test_a_broken_spec_is_passed_over(content: bytes, tmp_path: Path) -> None:
    made_of(spec_of("least"), "kserve-0.19.0", "kserve", tmp_path)
    (tmp_path / kept.FILE).write_bytes(content)
    assert converted(tmp_path).code == ExitCode.OK


def test_two_services_in_one_source(tmp_path: Path) -> None:
    other = DeploymentSpec.model_validate({**BASE, "name": "other", "replicas": 2})
    made_of(spec_of("least"), "kserve-0.19.0", "kserve", tmp_path / "a")
    made_of(other, "kserve-0.19.0", "kserve", tmp_path / "b")
    documents = [*read(tmp_path / "a"), *read(tmp_path / "b")]
    conversion = convert([copy.copy(one) for one in documents if one.kind != "Kustomization"])
    assert [service.spec for service in conversion.services] == [spec_of("least"), other]


def test_a_kustomization_over_it_is_converted(tmp_path: Path) -> None:
    made_of(spec_of("least"), "kserve-0.19.0", "kserve", tmp_path / "base")
    patch = {"path": "patch.yaml", "target": {"kind": "InferenceService"}}
    over = {"resources": ["../base"], "namespace": "elsewhere", "patches": [patch]}
    folder = tmp_path / "over"
    folder.mkdir()
    (folder / KUSTOMIZATION).write_text(yaml.safe_dump(over))
    change = [{"op": "replace", "path": "/spec/predictor/workerSpec/pipelineParallelSize", "value": 3}]
    (folder / "patch.yaml").write_text(yaml.safe_dump(change))
    conversion = convert(read_sources([str(folder)], Reading()))
    (service,) = conversion.services
    assert service.fields["namespace"] == "elsewhere"
    assert service.fields["parallelism"]["pipeline"] == 3
    assert conversion.code == ExitCode.OK
