"""What ends containers, as the kubelet tells it and as supervisors say it by their exit codes."""

from typing import Final

from vllm_multinode.cluster.causes.cause import DESCRIBE, EVENTS, PREVIOUS, Cause
from vllm_multinode.contract.exit_codes import ExitCode

CONTAINERS: Final = (
    Cause(
        "image-pull",
        "container",
        "stops",
        "The image cannot be pulled.",
        "Correct the image, or give imagePullSecrets for its registry.",
        "the container's state",
        DESCRIBE,
    ),
    Cause(
        "config-missing",
        "container",
        "stops",
        "A Secret or ConfigMap that the container needs does not exist.",
        "Create it, or correct its name.",
        "the container's state",
        "kubectl get secrets,configmaps -n {namespace}",
    ),
    Cause(
        "container-refused",
        "container",
        "stops",
        "The container cannot be created.",
        "Correct the setting in the message.",
        "the container's state",
        DESCRIBE,
    ),
    Cause(
        "volume-mount",
        "container",
        "stops",
        "A volume cannot be mounted.",
        "Correct the claim, Secret or ConfigMap in the message.",
        "events of reason FailedMount, FailedAttachVolume, FailedMapVolume",
        EVENTS,
    ),
    Cause(
        "memory-killed",
        "container",
        "stops",
        "The kernel killed a container, or a process in it, because of its memory use.",
        "Raise the memory limit; /dev/shm and the page cache of a tmpfs count towards it.",
        "the container's last state, or the supervisor's reason",
        DESCRIBE,
    ),
    Cause(
        "killed",
        "container",
        "stops",
        "An external signal killed a container.",
        "Find the sender: a probe, the node, or a person.",
        "exit codes above 128",
        PREVIOUS,
    ),
    Cause(
        "crashed",
        "container",
        "stops",
        "A container has exited.",
        "See its log.",
        "the container's last state",
        PREVIOUS,
    ),
    Cause(
        "restarted",
        "container",
        "tells",
        "Containers have been restarted, though all of them run now.",
        "Check why the last one exited.",
        "restart counts",
        PREVIOUS,
    ),
)

_REMEDIES: Final = {
    ExitCode.VARIABLE: (
        "A variable of the pod is missing, or out of range.",
        "Correct the variable in the message.",
    ),
    ExitCode.SIZES: (
        "TP and PP do not fit the nodes and their accelerators.",
        "Make GPUs x nodes equal to TP x PP.",
    ),
    ExitCode.EXECUTOR: ("The executor is unknown.", "Set MULTINODE_EXECUTOR to mp or ray."),
    ExitCode.ARGUMENTS: ("vLLM or the launcher rejects an argument.", "Correct the argument in the message."),
    ExitCode.ACCELERATORS: (
        "A pod sees other accelerators than it was assigned.",
        "Check the node's driver and device plugin.",
    ),
    ExitCode.MODEL_MISSING: (
        "There is no model in the configured folder.",
        "Fill the claim, or correct storageUri.",
    ),
    ExitCode.MODEL_CONFIG: (
        "The model's configuration is missing, or cannot be read.",
        "Fetch the model again, or use another one.",
    ),
    ExitCode.SHARD_TRUNCATED: (
        "A weight file is not as long as its header says.",
        "Fetch the model again: `multinode fetch --refresh`.",
    ),
    ExitCode.SHARD_ABSENT: ("The index lists a weight file that does not exist.", "Fetch the model again."),
    ExitCode.HEADS: (
        "The model's attention heads are not divisible by TP.",
        "Choose another TP; `multinode plan` shows valid ones.",
    ),
    ExitCode.LAYERS: ("The model has fewer layers than PP.", "Lower PP."),
    ExitCode.PORT_TAKEN: (
        "Another process uses a port of the pod.",
        "Use another port, or turn host networking off.",
    ),
    ExitCode.NOT_WRITABLE: (
        "A pod has no writable directory.",
        "Mount an emptyDir, and set MULTINODE_SCRATCH to it.",
    ),
    ExitCode.SHARED_MEMORY: (
        "The shared memory of a pod is too small.",
        "Mount a larger emptyDir of medium Memory at /dev/shm.",
    ),
    ExitCode.IMAGE: ("The image lacks something that the launcher needs.", "Choose another image of vLLM."),
    ExitCode.VERSIONS_DIFFER: ("The nodes run different versions.", "Give head and workers the same image."),
    ExitCode.MODELS_DIFFER: (
        "The nodes see different models.",
        "Mount the same claim and folder on every node.",
    ),
    ExitCode.ACCELERATORS_DIFFER: (
        "The nodes have different accelerators.",
        "Schedule the pods on one kind of node.",
    ),
    ExitCode.TOKEN: (
        "A node has a wrong token, or none.",
        "Give head and workers the same Secret, and restart both.",
    ),
    ExitCode.GROUP: (
        "A worker belongs to another service or generation.",
        "Check HEAD_SVC of the worker; old pods may still run.",
    ),
    ExitCode.HEAD_UNREACHABLE: (
        "A worker cannot reach its head.",
        "Check DNS, NetworkPolicies and port 8081 between the pods.",
    ),
    ExitCode.MEMBERS_MISSING: (
        "Workers were missing for longer than the head waits.",
        "Check the pods of the ranks that the head lists: they are Pending or cannot reach the head.",
    ),
    ExitCode.ENGINE_START: (
        "The engine has failed to start, several times in a row.",
        "Read the end of the engine's log.",
    ),
    ExitCode.RECOVERY_BUDGET: (
        "The group has recovered too often in a row.",
        "Read the last incident.",
    ),
    ExitCode.ENGINE_VERSION: (
        "This launcher does not support the image's vLLM or Ray.",
        "Choose a version that docs/versions.md lists.",
    ),
}

BY_EXIT_CODE: Final = {
    code: Cause(
        f"exit-{code.name.lower().replace('_', '-')}",
        "node",
        "stops",
        meaning,
        remedy,
        f"exit code {code.value} of a pod, and its termination log",
        PREVIOUS,
    )
    for code, (meaning, remedy) in _REMEDIES.items()
}
"""What a supervisor that has ended says by its exit code."""
