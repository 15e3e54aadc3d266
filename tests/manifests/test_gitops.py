"""Argo CD and Flux: when an InferenceService serves, by a real Lua and a real CEL, over KServe's statuses."""

import json
from pathlib import Path
from typing import Any

import celpy
import lupa
import pytest
from celpy.adapter import json_to_cel

from manifests.folders import MANIFESTS, OVERLAYS, Object, build, load, of_kind
from manifests.leaf import leaf
from manifests.oc_process import process
from manifests.references import unresolved
from vllm_multinode.sizing import catalogue

GITOPS = MANIFESTS / "gitops"
COMPLETE = (
    'predictor-container: ReplicaSet "llm-predictor-1" has successfully progressed., '
    'worker-container: ReplicaSet "llm-predictor-worker-1" has successfully progressed.'
)
MINIMUM = "Deployment does not have minimum availability."


def service(*conditions: dict[str, str], over_nodes: bool = True, **status: Any) -> Object:
    """An InferenceService in its second generation, with the conditions that KServe has written."""
    found = {"observedGeneration": 2, "conditions": list(conditions), **status}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "llm", "generation": 2},
        "spec": {"predictor": {"model": {}, **({"workerSpec": {}} if over_nodes else {})}},
        "status": found,
    }


def condition(kind: str, status: str, message: str = "", reason: str = "") -> dict[str, str]:
    given = {"type": kind, "status": status, "message": message, "reason": reason}
    return {key: value for key, value in given.items() if value}


UNKNOWN = condition("Ready", "Unknown")
STUCK = condition("PredictorReady", "Unknown", COMPLETE)
CASES = [
    pytest.param(service(), "Progressing", id="new"),
    pytest.param({**service(), "status": {}}, "Progressing", id="without-a-status"),
    pytest.param(service(condition("Ready", "True")), "Healthy", id="ready"),
    pytest.param(
        service(condition("Ready", "False"), condition("PredictorReady", "False", MINIMUM)),
        "Progressing",
        id="starting",
    ),
    pytest.param(service(UNKNOWN, STUCK), "Healthy", id="complete-and-never-ready"),
    pytest.param(
        service(UNKNOWN, condition("PredictorReady", "Unknown", f"{MINIMUM},{COMPLETE.partition(',')[2]}")),
        "Progressing",
        id="workers-alone-complete",
    ),
    pytest.param(service(UNKNOWN, STUCK, over_nodes=False), "Progressing", id="one-node"),
    pytest.param(
        service(UNKNOWN, STUCK, condition("IngressReady", "False")), "Progressing", id="ingress-missing"
    ),
    pytest.param(
        service(condition("Ready", "True"), observedGeneration=1), "Progressing", id="older-generation"
    ),
    pytest.param(
        service(condition("PredictorReady", "False", "total gpu is less", "InvalidGPUAllocation")),
        "Degraded",
        id="gpus-do-not-add-up",
    ),
    pytest.param(
        service(condition("PredictorReady", "False", 'ReplicaSet "a" has timed out progressing.')),
        "Degraded",
        id="deadline",
    ),
    pytest.param(
        service(
            UNKNOWN,
            modelStatus={
                "transitionStatus": "InvalidSpec",
                "lastFailureInfo": {"message": "no such runtime", "reason": "RuntimeNotRecognized"},
            },
        ),
        "Degraded",
        id="runtime-unknown",
    ),
]


def argocd_check() -> str:
    (config,) = load(GITOPS / "argocd/configmap.yaml")
    return str(config["data"]["resource.customizations.health.serving.kserve.io_InferenceService"])


@pytest.mark.parametrize(("body", "health"), CASES)
def test_argo_cd_s_health(body: Object, health: str) -> None:
    lua = lupa.LuaRuntime(unpack_returned_tuples=True)
    check = lua.eval(f"function(obj) {argocd_check()} end")
    found = check(lua.table_from(body, recursive=True))
    assert found["status"] == health
    assert found["message"]


def test_openshift_gitops_has_the_same_check() -> None:
    (argocd,) = load(GITOPS / "openshift-gitops/argocd.yaml")
    (one,) = argocd["spec"]["resourceHealthChecks"]
    assert (one["group"], one["kind"]) == ("serving.kserve.io", "InferenceService")
    assert one["check"].strip() == argocd_check().strip()


def evaluated(expression: str, body: Object) -> bool:
    environment = celpy.Environment()
    program = environment.program(environment.compile(expression))
    return bool(program.evaluate({key: json_to_cel(value) for key, value in body.items()}))


@pytest.mark.parametrize(("body", "health"), CASES)
def test_flux_s_health(body: Object, health: str) -> None:
    (sync,) = load(GITOPS / "flux/sync.yaml")
    (rule,) = sync["spec"]["healthCheckExprs"]
    assert {rule["apiVersion"], rule["kind"]} == {"serving.kserve.io/v1beta1", "InferenceService"}
    failed, current = (evaluated(rule[name], body) for name in ("failed", "current"))
    # Flux asks for a failure first.
    assert ("Degraded" if failed else "Healthy" if current else "Progressing") == health


@pytest.mark.parametrize("overlay", ["llama-3.3-70b", "llama-3-8b-a10g"])
def test_waves_of_argo_cd(overlay: str, tmp_path: Path) -> None:
    objects = build(leaf(tmp_path / "leaf", "argocd", base=OVERLAYS / overlay))
    assert unresolved(objects) == []
    waves = {
        one["kind"]: one["metadata"].get("annotations", {}).get("argocd.argoproj.io/sync-wave", "0")
        for one in objects
    }
    assert waves["InferenceService"] == "1"
    entrances = {"Route", "HTTPRoute", "Gateway", "Ingress"} & waves.keys()
    assert {waves[kind] for kind in entrances} <= {"2"}
    assert bool(entrances) == (overlay == "llama-3-8b-a10g")
    before = {"PersistentVolumeClaim", "Secret", "Job", "ServingRuntime", "ConfigMap", "NetworkPolicy"}
    assert {waves[kind] for kind in before} == {"0"}
    for job in of_kind(objects, "Job"):
        assert job["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "Sync"


MACHINES = MANIFESTS / "operators/05-aws-machineset/template.yaml"
GIVEN = {"INFRASTRUCTURE": "demo-x7k2p", "AMI": "ami-0123", "REGION": "eu-west-1"}


def test_the_machine_set_of_aws() -> None:
    (template,) = load(MACHINES)
    (made,) = process(template, {**GIVEN, "NODES": "8", "POOL": "gpu"})
    assert "${" not in json.dumps(made)
    spec = made["spec"]
    assert spec["replicas"] == 8
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    machine = spec["template"]["spec"]
    assert machine["metadata"]["labels"]["vllm-multinode/pool"] == "gpu"
    provider = machine["providerSpec"]["value"]
    assert catalogue.shape(provider["instanceType"]) is not None
    assert provider["placement"] == {"region": "eu-west-1", "availabilityZone": "eu-west-1a"}
    assert provider["blockDevices"][0]["ebs"]["volumeSize"] == 200
    # The taint that the component nvidia tolerates.
    (service_,) = of_kind(build(OVERLAYS / "mixtral-8x7b-a10g"), "InferenceService")
    tolerated = {one["key"] for one in service_["spec"]["predictor"]["tolerations"]}
    assert {one["key"] for one in machine["taints"]} <= tolerated
