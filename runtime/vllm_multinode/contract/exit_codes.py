"""Every exit code of every command, in one place."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process's exit status tells; docs/exit-codes.md lists them."""

    OK = 0
    USAGE = 2
    DOES_NOT_FIT = 3
    # What was written for KServe
    WILL_NOT_SERVE = 4
    MANIFEST = 5
    SPEC = 6
    KUSTOMIZE = 7
    # What was planned
    WITHIN_ERROR = 8
    LOG = 9
    # What was asked for cannot be
    VARIABLE = 10
    SIZES = 11
    EXECUTOR = 12
    ARGUMENTS = 13
    ACCELERATORS = 14
    # What was written for something else
    NOT_CHECKED = 15
    NOT_CARRIED = 16
    NOT_CONVERTED = 17
    # The model directory
    MODEL_MISSING = 20
    MODEL_CONFIG = 21
    SHARD_TRUNCATED = 22
    SHARD_ABSENT = 23
    HEADS = 24
    LAYERS = 25
    # This node
    PORT_TAKEN = 30
    NOT_WRITABLE = 31
    SHARED_MEMORY = 32
    IMAGE = 33
    # This node among the others
    VERSIONS_DIFFER = 40
    MODELS_DIFFER = 41
    ACCELERATORS_DIFFER = 42
    TOKEN = 43
    GROUP = 44
    HEAD_UNREACHABLE = 45
    MEMBERS_MISSING = 46
    # The engine
    ENGINE_START = 50
    RECOVERY_BUDGET = 51
    ENGINE_VERSION = 52
    # The local runner
    NAMESPACES = 60
    ENGINE_MISSING = 61
    LOCAL_RUN = 62
    MODEL_NOT_MADE = 63
    # The Kubernetes API
    CLUSTER_UNREACHABLE = 70
    UNAUTHORIZED = 71
    FORBIDDEN = 72
    KIND_MISSING = 73
    CONFLICT = 74
    NOT_SERVING = 75
    CLUSTER_EXTRA = 76
    NAMESPACE_MISSING = 77
    MISSING = 78
    SERVES_BADLY = 79
    DIFFERS = 83
    # Filling a claim
    SOURCE_UNREACHABLE = 80
    SOURCE_DENIED = 81
    CLAIM_FULL = 82
    INTERRUPTED = 130
