"""For each cause of a service that does not serve, or serves badly: the objects and answers that show it."""

from dataclasses import dataclass, field
from typing import Any

from unit.cluster.objects import (
    Object,
    controller,
    event,
    head_says,
    pod,
    running,
    service,
    waiting,
    with_status,
)
from vllm_multinode.cluster.causes import BY_EXIT_CODE
from vllm_multinode.contract.exit_codes import ExitCode

HEAD, WORKER = "llm-predictor-0", "llm-predictor-worker-0"
BUSY = {"vllm:num_requests_running": 4.0, "vllm:num_requests_waiting": 0.0, "vllm:kv_cache_usage_perc": 0.3}


@dataclass(frozen=True)
class Case:
    """What is there.

    Attributes:
        cause: that is to be named first.
        bodies: objects beside the service; a service among them replaces it.
        says: the head's `/status`; None where it does not answer.
        counts: the engine's counters; None where it does not answer.
        log: of the head.
        words: that the sentence must hold.
    """

    cause: str
    bodies: list[Object] = field(default_factory=list)
    says: Object | None = None
    counts: dict[str, float] | None = None
    log: str = ""
    words: str = ""


def both(*, ready: bool = True, restarts: int = 0) -> list[Object]:
    """Head and worker, running."""
    head = running(HEAD, ready=ready)
    head["status"]["containerStatuses"][0]["restartCount"] = restarts
    return [head, running(WORKER, role="worker", ready=ready)]


def serving(**status: Any) -> Object:
    return with_status(service(), ready="True", url="http://llm.example.com", **status)


def failing(reason: str, message: str = "") -> Object:
    failure = {"reason": reason, "message": message}
    return with_status(service(), modelStatus={"transitionStatus": "InvalidSpec", "lastFailureInfo": failure})


def condition(reason: str, message: str) -> Object:
    """As KServe reports what its definition of an InferenceService knows no failure of."""
    body = with_status(service())
    body["status"]["conditions"][0] |= {"reason": reason, "message": message}
    return body


def unscheduled(message: str, reason: str = "Unschedulable") -> Object:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return pod(HEAD, conditions=[condition])


def refused(message: str) -> Object:
    return event("FailedCreate", message, {"kind": "ReplicaSet", "metadata": {"name": "llm-predictor-abc"}})


def ended(code: int, message: str = "", *, reason: str = "Error", restarts: int = 2) -> Object:
    last = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return waiting("CrashLoopBackOff", "back-off", lastState=last, restartCount=restarts)


def mounted(phase: str) -> list[Object]:
    body = pod(HEAD)
    body["spec"]["volumes"] = [{"name": "model", "persistentVolumeClaim": {"claimName": "models"}}]
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"},
        "spec": {"storageClassName": "nfs"}, "status": {"phase": phase},
    }  # fmt: skip
    return [body, claim]


def node_lost() -> list[Object]:
    body = running(HEAD, ready=False)
    body["status"]["conditions"] = [{"type": "Ready", "status": "False", "reason": "NodeNotReady"}]
    return [body]


def lingering() -> list[Object]:
    old = running("llm-predictor-old", generation=0)
    old["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:30Z", "finalizers": ["test/keeps"]}
    return [serving(), *both(), old]


def with_rdma() -> list[Object]:
    head, worker = both()
    head["spec"]["containers"][0]["resources"] = {"limits": {"rdma/rdma_shared_device_ib": "1"}}
    return [serving(), head, worker]


def deleting() -> Object:
    body = serving()
    body["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:30Z", "finalizers": ["test/keeps"]}
    return body


def stopped() -> Object:
    body = with_status(service())
    body["metadata"]["annotations"] = {"serving.kserve.io/stop": "true"}
    return body


def not_taken_up() -> Object:
    body = service()
    return {
        **body,
        "metadata": {**body["metadata"], "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"},
    }


def stuck() -> Object:
    complete = 'ReplicaSet "llm-1" has successfully progressed.'
    body = with_status(service(), ready="Unknown", url="http://llm.example.com")
    body["status"]["conditions"][0]["message"] = f"predictor: {complete}, worker: {complete}"
    return body


def no_ingress() -> Object:
    body = with_status(service())
    body["status"]["conditions"][0]["status"] = "True"
    body["status"]["conditions"].append({"type": "IngressReady", "status": "False", "message": "no gateway"})
    return body


def told(state: str, reason: str = "", *, members: int = 2, silent: float = 0.2, **more: Any) -> Object:
    found = head_says(state, reason)
    found["members"] = found["members"][:members]
    if members == 2:
        found["members"][1]["silent_s"] = silent
    return {"authentication": "token", **found, **more}


def through(out: float, back: float, round_trip_ms: float = 0.2) -> Object:
    """A group of two that serves, with both ways between its nodes in Gbit/s."""
    ways = [(HEAD, WORKER, out), (WORKER, HEAD, back)]
    return SERVES | {
        "wire": [
            {"from": one, "to": other, "gbit_s": speed, "round_trip_ms": round_trip_ms, "reason": ""}
            for one, other, speed in ways
        ]
    }


def incidents(count: int, at: float) -> list[Object]:
    return [{"at": at, "cause": "member", "reason": "lost llm-predictor-worker-0"}] * count


SERVES = told("serving")


def log_case(cause: str, line: str) -> Case:
    """An engine that has said why it ended."""
    return Case(
        cause, both(ready=False), told("recovering", "vllm exited with status 0"), log=f"start\n{line}\nend\n"
    )


CASES = [
    Case("service-deleting", [deleting(), *both()], SERVES, BUSY, words="test/keeps keeps it"),
    Case("service-stopped", [stopped()], words="serving.kserve.io/stop"),
    Case("controller-down", [not_taken_up(), controller(available=0)], words="controller is not running"),
    Case("not-taken-up", [not_taken_up()], words="has created nothing for it"),
    Case("runtime-not-recognized", [failing("RuntimeNotRecognized", "no runtime x")], words="no runtime x"),
    Case("runtime-disabled", [failing("RuntimeDisabled", "it is disabled")]),
    Case("runtime-unhealthy", [failing("RuntimeUnhealthy", "pods fail")]),
    Case("predictor-invalid", [failing("InvalidPredictorSpec", "two implementations")]),
    Case("gpu-allocation", [condition("InvalidGPUAllocation", "8 is less than 4")], words="8 is less than 4"),
    Case("serverless-refused", [event("ServerlessModeRejected", "no knative", with_status(service()))]),
    Case("controller-error", [event("InternalError", "failed creating host name", with_status(service()))]),
    Case("ingress-not-ready", [no_ingress(), *both()], SERVES, BUSY, words="no gateway"),
    Case("quota", [refused('pods "x" is forbidden: exceeded quota: gpus')], words="exceeded quota: gpus"),
    Case("pod-security", [refused('violates PodSecurity "restricted:latest"')]),
    Case("service-account", [refused('error looking up: serviceaccount "x" not found')]),
    Case("pods-refused", [refused("admission webhook denied the request")]),
    Case("held-by-queue", [unscheduled("Scheduling is blocked due to non-empty gates", "SchedulingGated")]),
    Case("claim-missing", [unscheduled('persistentvolumeclaim "models" not found')]),
    Case("claim-unbound", [unscheduled("pod has unbound immediate PersistentVolumeClaims")]),
    Case("claim-unbound", mounted("Pending"), words="of class nfs"),
    Case("claim-lost", mounted("Lost")),
    Case("no-room", [unscheduled("0/3 nodes: 3 Insufficient nvidia.com/gpu.")], words="nvidia.com/gpu"),
    Case("no-room", [unscheduled("0/3 nodes: 3 Insufficient memory.")]),
    Case("taint", [unscheduled("0/3 nodes: 3 node(s) had untolerated taint {gpu: true}.")]),
    Case("node-labels", [unscheduled("0/3 nodes: 3 node(s) didn't match Pod's node affinity/selector.")]),
    Case("unschedulable", [unscheduled("0/3 nodes: 3 node(s) were unschedulable.")]),
    Case("evicted", [pod(HEAD, phase="Failed", reason="Evicted", message="low on ephemeral-storage")]),
    Case("pod-failed", [pod(HEAD, phase="Failed", reason="UnexpectedAdmissionError", message="no devices")]),
    Case("node-lost", node_lost(), words="has stopped responding"),
    Case("stuck-terminating", lingering(), SERVES, BUSY),
    Case("image-pull", [waiting("ImagePullBackOff", "manifest unknown")], words="manifest unknown"),
    Case("config-missing", [waiting("CreateContainerConfigError", 'secret "token" not found')]),
    Case("container-refused", [waiting("CreateContainerError", "no such device")]),
    Case("volume-mount", [pod(HEAD), event("FailedMount", "MountVolume failed: stale handle", pod(HEAD))]),
    Case("memory-killed", [ended(137, reason="OOMKilled")]),
    Case("killed", [ended(137)]),
    Case("crashed", [ended(1, "boom")], words="boom"),
    *(
        Case(cause.id, [ended(int(code), f"{code.name}: so")], words=f"{code.name}: so")
        for code, cause in BY_EXIT_CODE.items()
        if code is not ExitCode.HEAD_UNREACHABLE
    ),
    Case("exit-head-unreachable", [ended(int(ExitCode.HEAD_UNREACHABLE), "no address for llm-head-1")]),
    Case("worker-refused", both(ready=False), told("forming", "1 of 2", members=1, refused="vLLM differs")),
    Case("nodes-missing", both(ready=False), told("forming", "1 of 2", members=1), words="1 of 2 nodes"),
    Case("member-silent", both(ready=False), told("recovering", "x", silent=4.2), words="for 4.2 s"),
    Case("recovering", both(ready=False), told("recovering", "lost a worker")),
    Case("recovers-often", [serving(), *both()], told("serving", incidents=incidents(3, 4e9)), BUSY),
    Case("model-fetched", both(ready=False), told("preflight", "waiting for the model: 3 of 9 GiB")),
    Case("draining", both(ready=False), told("draining", "asked to stop")),
    Case("group-failed", both(ready=False), told("failed", "the budget is used up")),
    Case("head-silent", both(ready=False), None),
    Case("engine-silent", [serving(), *both()], SERVES, None),
    Case(
        "cache-full", [serving(), *both()], SERVES,
        BUSY | {"vllm:kv_cache_usage_perc": 0.99, "vllm:num_requests_waiting": 9.0}, words="99%",
    ),
    Case("queue", [serving(), *both()], SERVES, BUSY | {"vllm:num_requests_waiting": 40.0}),
    Case(
        "preemptions", [serving(), *both()], SERVES,
        BUSY | {"vllm:num_preemptions_total": 30.0, "vllm:request_success_total": 100.0},
    ),
    Case("slow-wire", [serving(), *both()], through(9.4, 0.9), BUSY, words="other ways 9.4"),
    Case("slow-wire", [serving(), *both()], through(0.2, 0.3), BUSY, words="carries 0.2 Gbit/s."),
    Case("slow-wire", [serving(), *both()], through(9.4, 9.4, 12.0), BUSY, words="12 ms away"),
    Case("rdma-unused", with_rdma(), SERVES, BUSY, "pod: NCCL INFO NET/Socket : Using [0]eth0:10.0.0.4<0>"),
    Case(
        "stages-unlike", [serving(), *both()], SERVES, BUSY,
        "(EngineCore pid=9) (Worker_PP0 pid=7) INFO 11-28 10:00:00 [gpu_worker.py:760] "
        "Available KV cache memory: 40.1 GiB\n"
        "(Worker_PP1 pid=8) INFO 11-28 10:00:00 [gpu_worker.py:760] Available KV cache memory: 9.6 GiB",
        words="Worker_PP1",
    ),
    Case(
        "stages-unlike", [serving(), *both()],
        SERVES | {"members": [
            {"name": HEAD, "rank": 0, "gpus": 8}, {"name": WORKER, "rank": 1, "gpus": 4, "silent_s": 0.1},
        ]}, BUSY, words=f"{WORKER} 4",
    ),
    log_case("gpu-memory", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
    log_case(
        "memory-killed",
        "VLLM::Worker_PP1 (process 70) died, killed by the kernel because the container's memory limit "
        "of 64.0 GiB was reached",
    ),
    log_case("cache-too-small", "ValueError: No available memory for the cache blocks. Try increasing"),
    log_case("driver-too-old", "RuntimeError: The NVIDIA driver on your system is too old"),
    log_case("gpu-lost", "RuntimeError: CUDA error: uncorrectable ECC error encountered"),
    log_case("architecture-unknown", "ValueError: Model architectures ['New'] are not supported for now."),
    log_case("remote-code", "Please set the option `trust_remote_code=True` to remove this error."),
    log_case("model-gated", "huggingface_hub.errors.GatedRepoError: 403 Client Error."),
    log_case("nccl-error", "RuntimeError: NCCL error: remote process exited or there was a network error"),
]  # fmt: skip
NOTED = [
    Case("ready-unknown", [stuck(), *both()], SERVES, BUSY),
    Case("no-token", [serving(), *both()], told("serving", authentication="none"), BUSY),
    Case("restarted", [serving(), *both(restarts=2)], SERVES, BUSY),
]
"""What is worth knowing of a service that serves."""
ELSEWHERE = {
    "service-gone": "it is a wait that sees a service go",
    "workers-remade": "it takes time to see, which a wait has",
    "node-frozen": "of local runs alone",
    "node-cut": "of local runs alone",
}
"""Causes that one look at a cluster cannot have, and why."""
