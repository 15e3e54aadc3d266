"""docs/variables.md: every variable that a pod reads, with the default that the launcher's own settings have."""

from collections.abc import Callable
from typing import Final

from generators.repository import ROOT, Files
from vllm_multinode.contract import env
from vllm_multinode.launcher.settings import Settings, read_settings

_HEAD: Final = """# Variables

`scripts/generate variables` writes this page; the defaults are read from the launcher's settings.

## Set by KServe or LeaderWorkerSet

| variable | meaning | where it is absent |
|---|---|---|
"""

GIVEN: Final[dict[tuple[str, ...], tuple[str, str]]] = {
    (env.TENSOR_PARALLEL_SIZE, env.PIPELINE_PARALLEL_SIZE): (
        "TP and PP",
        "a worker learns both from its head (KServe before v0.18)",
    ),
    (env.RAY_NODE_COUNT, env.LWS_GROUP_SIZE): ("nodes, including the head", "PP (KServe v0.15.0)"),
    (env.REQUEST_GPU_COUNT,): (
        "accelerators of this pod",
        "TP x PP ÷ nodes on the head; the devices found on a worker",
    ),
    (env.MODEL_NAME,): ("model name that clients use", "vLLM's default"),
    (env.MODEL_DIR,): ("the model", "`/mnt/models`"),
    (env.HEAD_SVC, env.LWS_LEADER_ADDRESS): ("address of the worker's head", "refused"),
    (env.ISVC_NAME, env.INFERENCE_SERVICE_NAME): ("which service this pod belongs to", "not compared"),
    (env.POD_IP, env.POD_NAME, env.POD_NAMESPACE): (
        "the downward API",
        "taken from the route; the hostname; not compared",
    ),
}

Default = str | Callable[[Settings], object]

OWN: Final[dict[str, tuple[Default, str]]] = {
    env.EXECUTOR: (lambda s: s.executor, "`ray` or `mp`; the head's holds for the group"),
    env.ACCELERATOR: (
        lambda s: s.accelerator,
        "`cuda`, `rocm`, `xpu`, `gaudi` or `cpu` instead of the detected one",
    ),
    env.GENERATION: (
        "end of `HEAD_SVC`",
        "generation of the service (downward API: `metadata.labels['isvc.generation']`)",
    ),
    env.MODEL_SOURCE: (
        lambda s: s.model_source,
        "origin of the model, for messages (downward API: KServe's annotation with the storageUri)",
    ),
    env.TOKEN_FILE: (
        lambda s: s.token_file,
        "file with the group's token, 32 random bytes in text; members prove to each other that they know it, and "
        "Ray's token is derived from it. Without it the log, `/status` and `multinode_authenticated` say so",
    ),
    env.CLIENT_CERTIFICATE_FILE: (
        lambda s: s.client_certificate_file or "vLLM's own",
        "client certificate of the supervisor, for an API that requires one (`--ssl-cert-reqs 2`)",
    ),
    env.CLIENT_KEY_FILE: (
        lambda s: s.client_key_file or "vLLM's own",
        "its key, which may be in the certificate's file",
    ),
    env.PORT: (lambda s: s.ports.api, "vLLM's API, on the head"),
    env.SUPERVISOR_PORT: (
        lambda s: s.ports.supervisor,
        "probes, status, metrics, membership; the same on every node",
    ),
    env.MASTER_PORT: (lambda s: s.ports.master, "port of torch's rendezvous with `mp`"),
    env.RAY_PORT: (lambda s: s.ports.ray, "port of Ray's GCS; its other services use the next ten ports"),
    env.RAY_WORKER_PORTS: (lambda s: "-".join(map(str, s.ports.ray_workers)), "Ray's worker processes"),
    env.HEARTBEAT_TIMEOUT: (lambda s: s.timings.heartbeat, "seconds of silence after which a peer is lost"),
    env.HEAD_TIMEOUT: (
        lambda s: s.timings.head,
        "seconds that a worker looks for its head before it gives up",
    ),
    env.MEMBER_TIMEOUT: (
        lambda s: s.timings.members,
        "seconds that a head waits for missing workers before it gives up",
    ),
    env.MODEL_TIMEOUT: (
        lambda s: s.timings.model,
        "seconds to wait for a model that `multinode fetch` is still fetching; 0 exits at once if it is incomplete",
    ),
    env.START_TIMEOUT: (
        lambda s: s.timings.start,
        "seconds from the engine's start to its first healthy response",
    ),
    env.HANG_TIMEOUT: (
        lambda s: s.timings.hang,
        "seconds with requests under way and no step of the scheduler, after which a small request is sent; without a "
        "sign of life within 15 more the engine is hung. Keep it longer than the longest step",
    ),
    env.DRAIN_TIMEOUT: (
        lambda s: s.timings.drain,
        "seconds that running requests get after SIGTERM; keep it below the grace period",
    ),
    env.START_ATTEMPTS: (lambda s: s.timings.start_attempts, "engine starts that may fail in a row"),
    env.RECOVERY_ATTEMPTS: (
        lambda s: s.timings.recovery_attempts,
        "recoveries in a row before Kubernetes takes over",
    ),
    env.BACKOFF: (
        lambda s: s.timings.backoff,
        "seconds before the second recovery in a row; doubled each time, 60 at most",
    ),
    env.STABLE_AFTER: (
        lambda s: s.timings.stable_after,
        "seconds of serving after which earlier recoveries are forgotten",
    ),
    env.READ_AHEAD: (
        lambda s: s.read_ahead,
        "read this node's share of the weights into the page cache while waiting",
    ),
    env.WIRE_CHECK: (
        lambda s: s.wire_check,
        "measure the network between the nodes before the engine starts, once for each set of members; "
        "half a second, at most 8 s if a node does not answer; it never blocks the start",
    ),
    env.WARM_RESTART: (
        lambda s: s.warm_restart,
        "keep a process that has imported vLLM, from which this node's engines are forked "
        "([warm restarts](reference.md#warm-restarts))",
    ),
    env.SHARED_MEMORY_MIN: (
        lambda s: s.shared_memory_min,
        "minimum size of `/dev/shm` in MiB; 0 skips the check",
    ),
    env.SCRATCH: (lambda s: s.scratch, "first choice for HOME and caches if they are not writable"),
    env.TERMINATION_LOG: (lambda s: f"`{s.termination_log}`", "file for the final message"),
    env.LOG_LEVEL: (lambda s: s.log_level, "`debug`, `info`, `warning` or `error`"),
    env.LOG_FORMAT: (
        lambda s: s.log_format,
        "`text`, or `json`: the supervisor's own lines as JSON objects; the engine's lines are unchanged",
    ),
    env.CPU_FORK: (
        lambda s: s.cpu_fork,
        "CPU engine: fork its processes, which saves importing vLLM three times",
    ),
    env.CPU_PLATFORM: (
        "set by the launcher",
        "switches the CPU platform plugin on inside the engine: the first version of vLLM that its code is for",
    ),
}
"""Variable -> where its default is read, or what stands for it; its meaning."""

COMMAND_LINE: Final = {
    env.CATALOGUE: "YAML file with [models and accelerators of your own](reference.md#the-catalogue)",
    env.PLATFORM: "[release](reference.md#releases) for `render`, `validate`, `preview`, `plan` and `local run`",
}


def files() -> Files:
    """The page."""
    return {ROOT / "docs/variables.md": page()}


def page() -> str:
    """docs/variables.md."""
    missing = (env.OURS - set(OWN)) | (env.COMMAND_LINE - set(COMMAND_LINE))
    if missing:
        raise SystemExit(f"scripts/generators/variables.py does not describe {', '.join(sorted(missing))}")
    settings = read_settings(
        "head", {env.TENSOR_PARALLEL_SIZE: "1", env.PIPELINE_PARALLEL_SIZE: "2"}, (), "pod"
    )
    lines = [_HEAD.rstrip("\n")]
    lines += [
        f"| {', '.join(f'`{name}`' for name in names)} | {meaning} | {absent} |"
        for names, (meaning, absent) in GIVEN.items()
    ]
    lines += ["", "## Set by you", "", "| variable | default | meaning |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {default(given, settings)} | {meaning} |" for name, (given, meaning) in OWN.items()
    ]
    lines += ["", "## Read by commands on your machine", "", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in COMMAND_LINE.items()]
    return "\n".join(lines) + "\n"


def default(given: Default, settings: Settings) -> str:
    """A variable's default as the page shows it."""
    value = given if isinstance(given, str) else given(settings)
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
