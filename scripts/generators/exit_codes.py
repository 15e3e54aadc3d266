"""docs/exit-codes.md: every exit code, what it means, what to do, and the cause that `doctor` names for it."""

from typing import Final

from generators.repository import ROOT, Files
from vllm_multinode.cluster.causes import BY_EXIT_CODE
from vllm_multinode.contract.exit_codes import ExitCode

_HEAD: Final = """# Exit codes

`scripts/generate exit_codes` writes this page. The last line on stderr gives the error, its place and the remedy; in a
pod the termination log contains the same line. 141 is not in the table: a command exits with it when the reader of its standard
output has closed it, for example `| head`.
"""

_GROUPS: Final = {
    "Any command": (0, 2),
    "Planning": (3, 3),
    "Manifests and specs": (4, 7),
    "Plans and logs": (8, 9),
    "Settings of a pod": (10, 14),
    "Files of another kind": (15, 17),
    "The model": (20, 25),
    "The node": (30, 33),
    "The group": (40, 46),
    "The engine": (50, 52),
    "Local runs": (60, 63),
    "The cluster": (70, 79),
    "Filling a claim": (80, 82),
    "Records and interrupts": (83, 255),
}

MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "Done, or stopped as asked.",
    ExitCode.USAGE: "The command line cannot be read, or names an unknown KServe version.",
    ExitCode.DOES_NOT_FIT: "`plan`: no choice of nodes can hold the model; the smallest deployment that would is shown.",
    ExitCode.WILL_NOT_SERVE: "`validate`, `preview`, `deploy`: KServe would reject it, or accept it and never serve.",
    ExitCode.MANIFEST: "A file is missing, or is not YAML or JSON that Kubernetes can read.",
    ExitCode.SPEC: "The deployment spec has an unknown field or an impossible value.",
    ExitCode.KUSTOMIZE: "A kustomization cannot be built, or neither `kubectl` nor `kustomize` is installed.",
    ExitCode.WITHIN_ERROR: "`plan`: whether the model fits lies within the estimate's error.",
    ExitCode.LOG: "`plan --against`: the log is from another engine, or lacks the lines that state sizes.",
    ExitCode.VARIABLE: "A variable is missing, empty, not a number or out of range.",
    ExitCode.SIZES: "TP and PP do not fit the nodes and their accelerators.",
    ExitCode.EXECUTOR: "The executor is unknown.",
    ExitCode.ARGUMENTS: (
        "An argument for vLLM contradicts the environment, is written so that vLLM ignores it, or is rejected by "
        "vLLM's own parser, which runs before any node starts an engine."
    ),
    ExitCode.ACCELERATORS: "The pod sees other accelerators than it was assigned.",
    ExitCode.NOT_CHECKED: (
        "`validate`, `preview`, `deploy`, `delete`: the files contain no kind that is checked; the message says "
        "what they are and what to do instead."
    ),
    ExitCode.NOT_CARRIED: (
        "`convert`: a field of the source has no counterpart, or the spec is incomplete; the report names each."
    ),
    ExitCode.NOT_CONVERTED: "`convert`: the source is rejected and nothing is written; the line names the field and why.",
    ExitCode.MODEL_MISSING: (
        "There is no model directory, it is empty, or its `multinode fetch` has not finished. Filling a claim: the "
        "source has no such model."
    ),
    ExitCode.MODEL_CONFIG: (
        "`config.json` is missing or unreadable, or the model has its own code, which vLLM may not trust. Also: a "
        "GGUF file, a LoRA adapter, a model without a tokenizer."
    ),
    ExitCode.SHARD_TRUNCATED: (
        "A weight file is shorter or longer than its header says, or its checksum is not the source's."
    ),
    ExitCode.SHARD_ABSENT: "The index lists a weight file that does not exist.",
    ExitCode.HEADS: "The attention heads are not divisible by TP.",
    ExitCode.LAYERS: "The model has fewer layers than PP.",
    ExitCode.PORT_TAKEN: "Another process uses the port.",
    ExitCode.NOT_WRITABLE: (
        "Neither HOME nor a cache directory can be written. Filling a claim: the claim is read-only. A command: "
        "standard output is on a full disk."
    ),
    ExitCode.SHARED_MEMORY: "`/dev/shm` is too small.",
    ExitCode.IMAGE: "The image lacks vLLM, Ray (for the executor ray), or a package that the launcher needs.",
    ExitCode.VERSIONS_DIFFER: "vLLM, Ray, Python or this package differ between the nodes.",
    ExitCode.MODELS_DIFFER: "The nodes see different model directories.",
    ExitCode.ACCELERATORS_DIFFER: "The nodes have different accelerators.",
    ExitCode.TOKEN: "A wrong or missing token.",
    ExitCode.GROUP: "A worker belongs to another service or generation, or has its head's own name.",
    ExitCode.HEAD_UNREACHABLE: "The head was not reached within `MULTINODE_HEAD_TIMEOUT`.",
    ExitCode.MEMBERS_MISSING: (
        "Workers were missing for `MULTINODE_MEMBER_TIMEOUT`; the line names their ranks and the pods that held them last."
    ),
    ExitCode.ENGINE_START: "The engine failed to start `MULTINODE_START_ATTEMPTS` times.",
    ExitCode.RECOVERY_BUDGET: "More recoveries in a row than `MULTINODE_RECOVERY_ATTEMPTS`.",
    ExitCode.ENGINE_VERSION: "This launcher does not support the image's vLLM or Ray ([versions](versions.md)).",
    ExitCode.NAMESPACES: "`local`: the kernel does not allow namespaces here.",
    ExitCode.ENGINE_MISSING: "`local`, `bench`: vLLM or Ray is not installed.",
    ExitCode.LOCAL_RUN: "`local`: there is no such run or node, or it is in use.",
    ExitCode.MODEL_NOT_MADE: "`local make-model`: the sizes do not make a model, or the folder is in use.",
    ExitCode.CLUSTER_UNREACHABLE: "There is no kubeconfig, or the Kubernetes API does not answer.",
    ExitCode.UNAUTHORIZED: "The login has expired or is unknown.",
    ExitCode.FORBIDDEN: "The login lacks a right in that namespace.",
    ExitCode.KIND_MISSING: "The cluster does not know a kind: KServe or LeaderWorkerSet is not installed.",
    ExitCode.CONFLICT: (
        "Another owner has a field or an object. Filling a claim: another fetch has taken it over."
    ),
    ExitCode.NOT_SERVING: (
        "`wait`, `deploy`, `doctor`: the service will not answer. `status`, `doctor`: there is no such service. "
        "`delete`: objects remain. The message gives the reason."
    ),
    ExitCode.CLUSTER_EXTRA: "The extra `[cluster]` or `[sdk]` is not installed.",
    ExitCode.NAMESPACE_MISSING: "The namespace does not exist, and --create-namespace was not given.",
    ExitCode.MISSING: (
        "Something that the deployment needs is missing: a Secret, a storage class, room in a claim "
        "or quota, an RDMA device. Nothing was written."
    ),
    ExitCode.SERVES_BADLY: "`doctor`: every service serves, and one of them badly.",
    ExitCode.SOURCE_UNREACHABLE: "The model's source does not answer.",
    ExitCode.SOURCE_DENIED: "The model's source rejects the token, or there is none.",
    ExitCode.CLAIM_FULL: "The claim is too small for the model.",
    ExitCode.DIFFERS: "`record --check`: something differs from the record.",
    ExitCode.INTERRUPTED: "Stopped from the keyboard.",
}
"""What each code means."""

REMEDIES: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "Nothing.",
    ExitCode.USAGE: "Read `multinode COMMAND --help`; for unknown names, similar ones are suggested.",
    ExitCode.DOES_NOT_FIT: "Use the suggested deployment, or lower `--context`.",
    ExitCode.WILL_NOT_SERVE: "Fix each finding; [rules](rules.md) explains every rule.",
    ExitCode.MANIFEST: "Correct the file at the given line.",
    ExitCode.SPEC: "Correct the field in the message; [the spec](spec.md) lists all of them.",
    ExitCode.KUSTOMIZE: "Install kubectl 1.32 or newer, or fix the error that kustomize reports.",
    ExitCode.WITHIN_ERROR: "Add a node or lower `--context`; the answer says what would make it certain.",
    ExitCode.LOG: "Give the head's log from its first line, or name the model and the GPU.",
    ExitCode.NOT_CHECKED: "Convert the files with `multinode convert`, or give the right ones.",
    ExitCode.NOT_CARRIED: "Read `report.md`, complete the spec, and validate it.",
    ExitCode.NOT_CONVERTED: "Change the field in the source, or write a [spec](spec.md) by hand.",
    ExitCode.NAMESPACES: "Run as root, or allow unprivileged user namespaces.",
    ExitCode.ENGINE_MISSING: "Run `multinode local install`; for `bench`, vLLM by any way.",
    ExitCode.LOCAL_RUN: "`multinode local status` lists runs and nodes.",
    ExitCode.MODEL_NOT_MADE: "Change the sizes that are named, or give an empty folder.",
    ExitCode.CLUSTER_UNREACHABLE: "Give `--kubeconfig` or set KUBECONFIG, and try `kubectl version`.",
    ExitCode.UNAUTHORIZED: "Log in again.",
    ExitCode.FORBIDDEN: "Ask for the right that the line names; [the reference](reference.md) lists what is needed.",
    ExitCode.KIND_MISSING: "Install the operator; [manifests/operators](../manifests/operators/README.md) has them in order.",
    ExitCode.CONFLICT: "Change the other owner, or take the fields over with `--force-conflicts`.",
    ExitCode.NOT_SERVING: "Run `multinode doctor`; [causes](causes.md) explains each answer.",
    ExitCode.CLUSTER_EXTRA: "Install it: `pip install 'vllm-multinode[cluster]'`.",
    ExitCode.NAMESPACE_MISSING: "Create it, or add `--create-namespace`.",
    ExitCode.MISSING: "Create what the line names, and run the same command again.",
    ExitCode.SERVES_BADLY: "Do what the sentence says; [causes](causes.md) explains it.",
    ExitCode.SOURCE_UNREACHABLE: "Check the network and the proxy of the Job's pod, and run it again: it goes on where it was.",
    ExitCode.SOURCE_DENIED: "Accept the model's terms, and put the token into the Secret that the Job reads.",
    ExitCode.CLAIM_FULL: "Enlarge the claim, or make a larger one.",
    ExitCode.DIFFERS: "Read the list of what differs; record again if that is intended.",
    ExitCode.INTERRUPTED: "Nothing; the same command goes on from there.",
}
"""What to do, for the codes that have no cause of their own."""


def files() -> Files:
    """The page."""
    return {ROOT / "docs/exit-codes.md": page()}


def page() -> str:
    """docs/exit-codes.md."""
    missing = [
        code.name for code in ExitCode if code not in MEANINGS or code not in {**REMEDIES, **BY_EXIT_CODE}
    ]
    if missing:
        raise SystemExit(f"scripts/generators/exit_codes.py does not describe {', '.join(missing)}")
    lines = [_HEAD]
    for title, (first, last) in _GROUPS.items():
        lines += [f"## {title}", "", "| code | name | meaning | what to do |", "|---|---|---|---|"]
        lines += [_row(code) for code in sorted(ExitCode) if first <= code <= last]
        lines.append("")
    return "\n".join(lines)


def _row(code: ExitCode) -> str:
    cause = BY_EXIT_CODE.get(code)
    remedy = f"{cause.remedy} [More](causes.md#{cause.id})" if cause else REMEDIES[code]
    anchor = f'<a id="{code.value}"></a>'
    return f"| {anchor}{code.value} | {code.name} | {MEANINGS[code]} | {remedy} |"
