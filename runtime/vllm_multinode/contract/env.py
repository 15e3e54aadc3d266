"""Names of every environment variable that a pod is given, by who gives it."""

import difflib
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final


def _others_than(*groups: AbstractSet[str]) -> frozenset[str]:
    """The names that have been given so far and are in none of these groups."""
    given = {value for name, value in globals().items() if name.isupper() and isinstance(value, str)}
    return frozenset(given).difference(*groups)


# KServe, per version: see contract.kserve.
TENSOR_PARALLEL_SIZE: Final = "TENSOR_PARALLEL_SIZE"
PIPELINE_PARALLEL_SIZE: Final = "PIPELINE_PARALLEL_SIZE"
RAY_NODE_COUNT: Final = "RAY_NODE_COUNT"
REQUEST_GPU_COUNT: Final = "REQUEST_GPU_COUNT"
MODEL_NAME: Final = "MODEL_NAME"
MODEL_DIR: Final = "MODEL_DIR"
ISVC_NAME: Final = "ISVC_NAME"
INFERENCE_SERVICE_NAME: Final = "INFERENCE_SERVICE_NAME"
HEAD_SVC: Final = "HEAD_SVC"
WORKER_SVC: Final = "WORKER_SVC"

KSERVE: Final = _others_than()

# LeaderWorkerSet.
LWS_LEADER_ADDRESS: Final = "LWS_LEADER_ADDRESS"
LWS_GROUP_SIZE: Final = "LWS_GROUP_SIZE"
LWS_WORKER_INDEX: Final = "LWS_WORKER_INDEX"

LWS: Final = _others_than(KSERVE)

# The downward API, where the ServingRuntime asks it.
POD_IP: Final = "POD_IP"
POD_NAME: Final = "POD_NAME"
POD_NAMESPACE: Final = "POD_NAMESPACE"

DOWNWARD: Final = _others_than(KSERVE, LWS)

# Ours. launcher.settings says what each means and its default.
PREFIX: Final = "MULTINODE_"
EXECUTOR: Final = "MULTINODE_EXECUTOR"
ACCELERATOR: Final = "MULTINODE_ACCELERATOR"
GENERATION: Final = "MULTINODE_GENERATION"
MODEL_SOURCE: Final = "MULTINODE_MODEL_SOURCE"
TOKEN_FILE: Final = "MULTINODE_TOKEN_FILE"  # noqa: S105 - a path
CLIENT_CERTIFICATE_FILE: Final = "MULTINODE_CLIENT_CERTIFICATE_FILE"
CLIENT_KEY_FILE: Final = "MULTINODE_CLIENT_KEY_FILE"
PORT: Final = "MULTINODE_PORT"
SUPERVISOR_PORT: Final = "MULTINODE_SUPERVISOR_PORT"
RAY_PORT: Final = "MULTINODE_RAY_PORT"
RAY_WORKER_PORTS: Final = "MULTINODE_RAY_WORKER_PORTS"
MASTER_PORT: Final = "MULTINODE_MASTER_PORT"
HEARTBEAT_TIMEOUT: Final = "MULTINODE_HEARTBEAT_TIMEOUT"
HEAD_TIMEOUT: Final = "MULTINODE_HEAD_TIMEOUT"
MEMBER_TIMEOUT: Final = "MULTINODE_MEMBER_TIMEOUT"
START_TIMEOUT: Final = "MULTINODE_START_TIMEOUT"
MODEL_TIMEOUT: Final = "MULTINODE_MODEL_TIMEOUT"
HANG_TIMEOUT: Final = "MULTINODE_HANG_TIMEOUT"
DRAIN_TIMEOUT: Final = "MULTINODE_DRAIN_TIMEOUT"
START_ATTEMPTS: Final = "MULTINODE_START_ATTEMPTS"
RECOVERY_ATTEMPTS: Final = "MULTINODE_RECOVERY_ATTEMPTS"
BACKOFF: Final = "MULTINODE_BACKOFF"
STABLE_AFTER: Final = "MULTINODE_STABLE_AFTER"
READ_AHEAD: Final = "MULTINODE_READ_AHEAD"
WIRE_CHECK: Final = "MULTINODE_WIRE_CHECK"
WARM_RESTART: Final = "MULTINODE_WARM_RESTART"
SHARED_MEMORY_MIN: Final = "MULTINODE_SHARED_MEMORY_MIN"
SCRATCH: Final = "MULTINODE_SCRATCH"
TERMINATION_LOG: Final = "MULTINODE_TERMINATION_LOG"
LOG_LEVEL: Final = "MULTINODE_LOG_LEVEL"
LOG_FORMAT: Final = "MULTINODE_LOG_FORMAT"
CPU_FORK: Final = "MULTINODE_CPU_FORK"
CPU_PLATFORM: Final = "MULTINODE_CPU_PLATFORM"

OURS: Final = _others_than(KSERVE, LWS, DOWNWARD, {PREFIX})

# vLLM's own, which clients present.
API_KEY: Final = "VLLM_API_KEY"

ENGINE: Final = _others_than(KSERVE, LWS, DOWNWARD, OURS, {PREFIX})

# What `multinode fetch` reads, besides boto3's own: the names that each source's tools use.
HF_TOKEN: Final = "HF_TOKEN"  # noqa: S105 - a name
HF_TOKEN_PATH: Final = "HF_TOKEN_PATH"  # noqa: S105 - a name
HF_HOME: Final = "HF_HOME"
HF_ENDPOINT: Final = "HF_ENDPOINT"
AWS_ENDPOINT_URL: Final = "AWS_ENDPOINT_URL"
AWS_ENDPOINT_URL_S3: Final = "AWS_ENDPOINT_URL_S3"
AWS_S3_ENDPOINT: Final = "AWS_S3_ENDPOINT"
REGISTRY_AUTH_FILE: Final = "REGISTRY_AUTH_FILE"
DOCKER_CONFIG: Final = "DOCKER_CONFIG"

FETCH: Final = _others_than(KSERVE, LWS, DOWNWARD, OURS, ENGINE, {PREFIX})

# In the order in which they count; the last is what a connection of OpenShift AI is called.
S3_ENDPOINTS: Final = (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_S3_ENDPOINT)
S3_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")  # boto3's own

# What the command line reads on a user's machine.
CATALOGUE: Final = "MULTINODE_CATALOGUE"
PLATFORM: Final = "MULTINODE_PLATFORM"

COMMAND_LINE: Final = _others_than(KSERVE, LWS, DOWNWARD, OURS, ENGINE, FETCH, {PREFIX})


def unknown(names: Iterable[str]) -> dict[str, str]:
    """Names that begin as ours do and that nothing reads, each with the nearest of ours or "".

    Args:
        names: of variables; those that Kubernetes injects for a Service named multinode are left out before.
    """
    # The prefix, which all have, would make any two look alike.
    known = {name.removeprefix(PREFIX): name for name in OURS}
    found = {}
    for name in names:
        if name.startswith(PREFIX) and name not in OURS | COMMAND_LINE:
            near = difflib.get_close_matches(name.removeprefix(PREFIX), sorted(known), 1, 0.7)
            found[name] = known[near[0]] if near else ""
    return found
