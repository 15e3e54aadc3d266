"""Inputs with one thing changed: what is judged, and what is made of it, never contradict each other."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.authoring.rules.examples import base, documents
from unit.authoring.rules.test_agrees_with_preview import EVERY, unexplained
from vllm_multinode.platforms.releases import Release

PREDICTOR = ("service", "spec", "predictor")
MODEL, WORKER = (*PREDICTOR, "model"), (*PREDICTOR, "workerSpec")
CONTAINER = (*WORKER, "containers", 0)
HANDLERS = st.sampled_from(
    [
        {"httpGet": {"path": "/x", "port": 8080}},
        {"exec": {"command": ["x"]}},
        {"tcpSocket": {"port": 8080}},
        {},
    ]
)
QUANTITIES = st.sampled_from(["0", "1", "2", "4", "500m", "8Gi", "-1", "many"])
NAMES = st.sampled_from(["shm", "cache", "kserve-pvc-source", "a-name-that-is-longer-than-fifteen", "X"])
VOLUME = st.fixed_dictionaries(
    {"name": NAMES}, optional={"emptyDir": st.just({}), "hostPath": st.just({"path": "/x"})}
)
MOUNT = st.fixed_dictionaries(
    {"name": NAMES, "mountPath": st.sampled_from(["/x", "/dev/shm", "/mnt/models"])}
)
VARIABLE = st.fixed_dictionaries(
    {"name": st.sampled_from(["POD_IP", "A", "PYTHONPATH", "TENSOR_PARALLEL_SIZE"])},
    optional={"value": st.just("1"), "valueFrom": st.just({"fieldRef": {"fieldPath": "status.podIP"}})},
)
PORT = st.fixed_dictionaries({"containerPort": st.sampled_from([80, 8080, 0])}, optional={"name": NAMES})
CHANGES: list[tuple[tuple[Any, ...], st.SearchStrategy[Any]]] = [
    *(
        ((*place, probe), HANDLERS)
        for place in (MODEL, CONTAINER)
        for probe in ("readinessProbe", "livenessProbe")
    ),
    *(((*place, "volumes"), st.lists(VOLUME, max_size=2)) for place in (PREDICTOR, WORKER)),
    *(((*place, "volumeMounts"), st.lists(MOUNT, max_size=2)) for place in (MODEL, CONTAINER)),
    *(((*place, "env"), st.lists(VARIABLE, max_size=2)) for place in (MODEL, CONTAINER)),
    *(
        ((*place, "resources", part, name), QUANTITIES)
        for place in (MODEL, CONTAINER)
        for part in ("limits", "requests")
        for name in ("nvidia.com/gpu", "amd.com/gpu", "memory")
    ),
    ((*MODEL, "ports"), st.lists(PORT, max_size=2)),
    ((*CONTAINER, "name"), st.sampled_from(["worker-container", "worker", ""])),
    ((*WORKER, "tensorParallelSize"), st.integers(-1, 8)),
    ((*WORKER, "pipelineParallelSize"), st.integers(-1, 8)),
    ((*PREDICTOR, "minReplicas"), st.integers(-1, 3)),
    ((*PREDICTOR, "restartPolicy"), st.sampled_from(["Always", "Never"])),
    (
        (*PREDICTOR, "deploymentStrategy"),
        st.sampled_from(
            [{"type": "Recreate", "rollingUpdate": {}}, {"type": "RollingUpdate"}, {"type": "x"}, {}]
        ),
    ),
    ((*MODEL, "storageUri"), st.sampled_from(["pvc://", "pvc://a/b", "oci://a/b:1", "s3://a", "a"])),
    ((*MODEL, "runtime"), st.sampled_from(["rt", "other", "kserve-huggingfaceserver-multinode"])),
    (
        ("service", "metadata", "annotations", "serving.kserve.io/deploymentMode"),
        st.sampled_from(["Standard", "RawDeployment", "Serverless", "Knative", "ModelMesh", "x"]),
    ),
    (
        ("runtime", "spec", "annotations"),
        st.sampled_from([{"multinode/executor-backend": value} for value in ("mp", "MP", "ray", "x")]),
    ),
    (("service", "metadata", "name"), st.sampled_from(["llm", "l" * 42, "l" * 60, "my-predictor", "9"])),
    (("runtime", "spec", "workerSpec"), st.none()),
    (("runtime", "spec", "disabled"), st.booleans()),
]


@pytest.mark.parametrize("release", [pytest.param(one, id=one.name) for one in EVERY])
@settings(max_examples=25)
@given(data=st.data())
def test_one_or_two_changes_leave_nothing_unexplained(data: st.DataObject, release: Release) -> None:
    bodies = copy.deepcopy({name: base()[name] for name in ("runtime", "service")})
    for path, values in data.draw(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=2)):
        holder: Any = bodies
        for step in path[:-1]:
            holder = holder[step] if isinstance(step, int) else holder.setdefault(step, {})
        holder[path[-1]] = data.draw(values)
    assert unexplained(documents(list(bodies.values())), release) == []
