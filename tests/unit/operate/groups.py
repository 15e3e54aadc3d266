"""A group of four nodes with an engine that counts, as somebody sees it who watches for a while."""

from typing import Any

from unit.cluster.objects import Object, running
from unit.operate.cases import serving
from vllm_multinode.cluster.snapshot import Snapshot
from vllm_multinode.operate.numbers import Numbers
from vllm_multinode.operate.observation import Observation

BEGAN = 1_790_000_000.0
HEAD = "llm-predictor-6c5d8b7f9-q8xkz"
PODS = (HEAD, *(f"llm-predictor-worker-7d9f6b5c4-{letters}" for letters in ("2mnpq", "8rstv", "c4wxz")))
BUCKETS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


def says(
    state: str = "serving",
    reason: str = "",
    *,
    silent: tuple[float, ...] = (0.3, 0.4, 0.2),
    began: float = BEGAN,
) -> Object:
    """The head's `/status`; a worker that is silent for less than nothing has not joined."""
    members: list[dict[str, Any]] = [{"name": HEAD, "rank": 0, "state": state, "gpus": 8}]
    for rank, (pod, seconds) in enumerate(zip(PODS[1:], silent, strict=True), 1):
        if seconds >= 0:
            members.append({"name": pod, "rank": rank, "state": state, "gpus": 8, "silent_s": seconds})
    more = {"accelerator": "cuda", "versions": {"vllm": "0.32.0"}}
    lost = "lost llm-predictor-worker-7d9f6b5c4-8rstv: the connection ended"
    return {
        "state": state, "reason": reason, "since": began + 420, "role": "head", "pod": HEAD, "nodes": 4,
        "tensor_parallel": 8, "pipeline_parallel": 4, "executor": "mp", "authentication": "token",
        "members": [member | more for member in members], "recoveries": 1,
        "recoveries_by_cause": {"member": 1},
        "incidents": [{"at": began + 300, "cause": "member", "reason": lost}],
        "wire": [
            {"from": HEAD, "to": PODS[1], "round_trip_ms": 0.21, "gbit_s": 94.2},
            {"from": PODS[1], "to": PODS[2], "reason": "no answer within 5 s"},
        ],
        "history": [
            {"at": began, "state": "forming", "reason": "3 of 4"},
            {"at": began + 30, "state": "starting", "reason": "epoch 1"},
            {"at": began + 140, "state": "serving", "reason": ""},
            {"at": began + 300, "state": "recovering", "reason": lost},
            {"at": began + 330, "state": "starting", "reason": "epoch 2"},
            {"at": began + 420, "state": state, "reason": reason},
        ],
    }  # fmt: skip


def counts(turn: int) -> Numbers:
    """What the engine counts after so many looks: some load, that comes and goes."""
    load = [40 + 30 * ((one * 7919) % 13) / 13 for one in range(turn + 1)]
    lines = [
        f"vllm:generation_tokens_total {sum(load) * 60}",
        f"vllm:prompt_tokens_total {sum(load) * 90}",
        f"vllm:num_requests_running {load[-1]:.0f}",
        f"vllm:num_requests_waiting {max(0, load[-1] - 62):.0f}",
        f"vllm:kv_cache_usage_perc {load[-1] / 80}",
        f"vllm:request_success_total {sum(load)}",
    ]
    for name, scale in (
        ("time_to_first_token_seconds", 0.4), ("inter_token_latency_seconds", 0.05),
        ("e2e_request_latency_seconds", 2.0),
    ):  # fmt: skip
        for bound in BUCKETS:
            within = sum(one * min(1.0, bound / scale / (0.6 + one / 70)) for one in load)
            lines.append(f'vllm:{name}_bucket{{le="{bound}"}} {within}')
        lines += [f'vllm:{name}_bucket{{le="+Inf"}} {sum(load)}', f"vllm:{name}_count {sum(load)}"]
        lines.append(f"vllm:{name}_sum {sum(load) * scale * 0.7}")
    return Numbers.read("\n".join(lines))


def observation(turn: int = 0, said: Object | None = None, **more: Any) -> Observation:
    """The group at a look; three seconds lie between two.

    Args:
        turn: number of the look.
        said: by the head; None where it serves.
        more: of the Observation.
    """
    pods = [running(HEAD), *(running(name, role="worker") for name in PODS[1:])]
    for number, pod in enumerate(pods):
        pod["spec"]["nodeName"] = f"gpu-node-{number}"
    told = said or says()
    fields: dict[str, Any] = {
        "snapshot": Snapshot(
            kind="InferenceService", name="llm", namespace="models", service=serving(), pods=pods
        ),
        "now": BEGAN + 600 + 3 * turn,
        "supervisors": {HEAD: told},
        "engines": {HEAD: counts(turn)},
        "entrance": ("kubectl port-forward -n models deployment/llm-predictor 8080",),
    }
    return Observation(**(fields | more))
