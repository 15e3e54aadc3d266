"""Why a service does not come to serve, from objects as controllers and kubelets leave them."""

import pytest

from unit.cluster import objects
from unit.cluster.objects import Object, controller, event, service, waiting, with_status
from unit.cluster.stub_api import StubApi
from vllm_multinode.cluster.client import Cluster
from vllm_multinode.cluster.wait import Target, wait
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

pytestmark = pytest.mark.usefixtures("impatient")
LLM = Target("serving.kserve.io/v1beta1", "InferenceService", "llm")


def ended(code: int, message: str, *, reason: str = "Error", restarts: int = 1) -> Object:
    """A container that has ended and is waited for."""
    last = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return waiting("CrashLoopBackOff", "back-off", lastState=last, restartCount=restarts)


def unscheduled(message: str) -> Object:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return objects.pod(conditions=[condition])


def gpu_allocation() -> Object:
    body = with_status(service())
    body["status"]["conditions"][0] |= {"reason": "InvalidGPUAllocation", "message": "8 is less than 4"}
    return body


TROUBLES = [
    pytest.param([waiting("ImagePullBackOff", "manifest unknown")], "vllm-multinode:1: manifest", id="image"),
    pytest.param(
        [unscheduled("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")],
        "3 Insufficient nvidia.com/gpu. Free nvidia.com/gpu on the nodes", id="no-gpus",
    ),
    pytest.param(
        [unscheduled("0/3 nodes are available: 3 node(s) had untolerated taint {gpu: true}.")],
        "Add the toleration, for head and workers", id="taint",
    ),
    pytest.param(
        [unscheduled('persistentvolumeclaim "models" not found')], "Create the claim models", id="no-claim",
    ),
    pytest.param([ended(137, "", reason="OOMKilled")], "was killed because of memory", id="memory"),
    pytest.param(
        [ended(24, "64 attention heads are not divisible by TP 3.")],
        "exit code 24 HEADS .*64 attention heads are not divisible by TP 3.", id="launcher-refuses",
    ),
    pytest.param([ended(1, "boom", restarts=3)], r"exit code 1 \(3 restarts\): boom", id="crash-loop"),
    pytest.param([ended(1, "", restarts=4)], "left no message See its log: multinode", id="silent-crash"),
    pytest.param(
        [waiting("CreateContainerConfigError", 'secret "token" not found')], 'secret "token" not found',
        id="secret",
    ),
    pytest.param(
        [objects.pod(), event("FailedMount", "MountVolume failed: no such file", objects.pod())],
        "cannot mount a volume: MountVolume failed", id="mount",
    ),
    pytest.param([gpu_allocation()], "InvalidGPUAllocation: 8 is less than 4", id="gpu-allocation"),
    pytest.param(
        [
            with_status(
                service(), modelStatus={"lastFailureInfo": {"reason": "RuntimeNotRecognized", "message": "x"}}
            )
        ],
        "RuntimeNotRecognized: x Use a ServingRuntime that exists", id="runtime",
    ),
    pytest.param(
        [event("ServerlessModeRejected", "knative is not installed", with_status(service()))],
        "ServerlessModeRejected: knative is not installed. Set serving.kserve.io/deploymentMode",
        id="serverless",
    ),
    pytest.param(
        [event("InternalError", "failed creating host name", with_status(service()))],
        "failed creating host name", id="internal-error",
    ),
    pytest.param(
        [
            event(
                "FailedCreate", "exceeded quota: gpus",
                {"kind": "ReplicaSet", "metadata": {"name": "llm-predictor-abc"}},
            )
        ],
        "ReplicaSet llm-predictor-abc: may not create its pods: exceeded quota: gpus Request a larger",
        id="quota",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("found", "words"), TROUBLES)
def test_ends_with_the_reason(api: StubApi, cluster: Cluster, found: list[Object], words: str) -> None:
    api.put(with_status(service()))
    for body in found:
        api.put({**body, "metadata": {"namespace": "demo", **body["metadata"]}})
    with pytest.raises(MultinodeError, match=words) as raised:
        wait(cluster, LLM, timeout=20)
    assert raised.value.code == ExitCode.NOT_SERVING
    assert str(raised.value).startswith("InferenceService demo/llm")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        pytest.param(
            [controller(available=0)],
            "controller is not running. See the Deployment .* kserve",
            id="no-controller",
        ),
        pytest.param([controller()], "KServe has created nothing for it .* workerSpec", id="silence"),
        pytest.param([], "KServe has created nothing for it", id="cannot-see"),
    ],
)
def test_nobody_takes_it_up(api: StubApi, cluster: Cluster, made: list[Object], words: str) -> None:
    api.put({**service(), "metadata": {"name": "llm", "generation": 1}})
    for body in made:
        api.put(body)
    with pytest.raises(MultinodeError, match=words):
        wait(cluster, LLM, timeout=20)
