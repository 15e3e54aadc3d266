"""What protects a group: the token, its policy and budget, one zone, and pods without rights."""

from collections.abc import Iterator
from typing import Final

from vllm_multinode.authoring.rules.group_pods import Pod, pods
from vllm_multinode.authoring.rules.rule import Case, Check, Rule, always, is_ours
from vllm_multinode.contract import env, labels
from vllm_multinode.contract.finding import Finding, Path
from vllm_multinode.k8s.access import at, listed, mapping
from vllm_multinode.k8s.documents import Document
from vllm_multinode.k8s.selectors import selects

_KINDS: Final = ("InferenceService", "LeaderWorkerSet")
_NAME: Final[Path] = ("metadata", "name")
_POLICY, _BUDGET = "NetworkPolicy", "PodDisruptionBudget"
# Kueue and LeaderWorkerSet place a group as a whole.
_TOPOLOGY: Final = (
    "kueue.x-k8s.io/podset-required-topology",
    "kueue.x-k8s.io/podset-preferred-topology",
    "leaderworkerset.sigs.k8s.io/exclusive-topology",
)
_ZONE: Final = "topology.kubernetes.io/"
_RESTRICTED: Final = "NET_BIND_SERVICE"
"""The capability that Pod Security's restricted lets a container add."""
_PINNED: Final = "IPC_LOCK"


def _around(case: Case, kind: str, made: list[Pod]) -> list[Document]:
    """The objects of a kind that select every pod of the group."""
    path = ("spec", "podSelector") if kind == _POLICY else ("spec", "selector")
    return [
        one
        for one in case.documents
        if one.kind == kind
        and (not one.namespace or not case.document.namespace or one.namespace == case.document.namespace)
        and all(selects(at(one.body, *path), pod.labels) for pod in made)
    ]


def _has_policy(case: Case, made: list[Pod]) -> bool:
    return any(_closes(one) for one in _around(case, _POLICY, made))


def _closes(policy: Document) -> bool:
    """Whether a policy closes any port to anybody."""
    kinds = listed(policy.body, "spec", "policyTypes") or ["Ingress"]
    return "Ingress" in kinds and {} not in listed(policy.body, "spec", "ingress")


def _has_token(made: list[Pod]) -> bool:
    """Whether every node of our launcher has a token; other launchers know none."""
    return all(env.TOKEN_FILE in pod.variables() or not any(map(is_ours, pod.containers)) for pod in made)


def _missing(case: Case) -> Iterator[str]:
    """The guards that a group lacks, by the rule of each."""
    made = pods(case)
    if not made:
        return
    if not _has_token(made):
        yield "token-missing"
    if not _has_policy(case, made):
        yield "network-policy-missing"
    if not _around(case, _BUDGET, made):
        yield "disruption-budget-missing"
    if not all(map(_is_placed, made)) and not _has_topology(case, made):
        yield "affinity-missing"


def _is_bare(case: Case) -> bool:
    """Whether the files bring the service alone: then one finding names all that they lack."""
    return not {one.kind for one in case.documents} & {_POLICY, _BUDGET}


_WORDS: Final = {
    "token-missing": "no token for the group",
    "network-policy-missing": "no NetworkPolicy",
    "disruption-budget-missing": "no PodDisruptionBudget",
    "affinity-missing": "no affinity that keeps its nodes together",
    "restricted": "a container that Pod Security's restricted rejects",
}


def _bare(case: Case) -> Iterator[Finding]:
    if not _is_bare(case) or not pods(case):
        return
    missing = [*_missing(case), *(["restricted"] if any(_unrestricted(case)) else [])]
    *others, last = [_WORDS[one] for one in missing]
    told = f"{', '.join(others)} and {last}" if others else last
    yield Finding(_NAME, f"the group is not protected: the files have {told}.")


def _lacks(rule: str) -> Check:
    def check(case: Case) -> Iterator[Finding]:
        if not _is_bare(case) and rule in _missing(case):
            yield Finding(_NAME)

    return check


def _is_placed(pod: Pod) -> bool:
    """Whether a pod goes where the others of its group are."""
    if pod.value("affinity", "podAffinity"):
        return True
    selected = pod.value("nodeSelector") or {}
    return any(str(key).startswith(_ZONE) for key in selected) or _ZONE in str(
        pod.value("affinity", "nodeAffinity") or ""
    )


def _has_topology(case: Case, made: list[Pod]) -> bool:
    annotations = {**mapping(case.body, "metadata", "annotations")}
    for pod in made:
        annotations |= pod.value("metadata", "annotations") or {}
    return len(made) < 2 or any(key in annotations for key in _TOPOLOGY)


def _unrestricted(case: Case) -> Iterator[Finding]:
    for pod in pods(case):
        wrong = list(_rights(pod))
        if wrong:
            message = f"the {pod.role}'s container has {', '.join(wrong)}."
            yield Finding((*pod.container_path, "securityContext"), message)


def _rights(pod: Pod) -> Iterator[str]:
    """What Pod Security's restricted rejects, and restricted-v2 unless it sets it itself."""
    either = {
        name: pod.of_container("securityContext", name)
        if pod.of_container("securityContext", name) is not None
        else pod.value("securityContext", name)
        for name in ("runAsNonRoot", "seccompProfile", "runAsUser")
    }
    if pod.of_container("securityContext", "privileged"):
        yield "privileged: true"
    if pod.of_container("securityContext", "allowPrivilegeEscalation") is not False:
        yield "no allowPrivilegeEscalation: false"
    if either["runAsNonRoot"] is not True:
        yield "no runAsNonRoot: true"
    if either["runAsUser"] == 0:
        yield "runAsUser: 0"
    if at(either["seccompProfile"], "type") not in ("RuntimeDefault", "Localhost"):
        yield "no seccompProfile of type RuntimeDefault"
    if "ALL" not in (pod.of_container("securityContext", "capabilities", "drop") or []):
        yield "capabilities that are not dropped (drop: [ALL])"
    added = pod.of_container("securityContext", "capabilities", "add") or []
    if further := [str(one) for one in added if one not in (_RESTRICTED, _PINNED)]:
        yield f"the capabilities {', '.join(further)}"
    if hosts := [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.value(name)]:
        yield f"{', '.join(hosts)}"
    if any(at(one, "hostPath") for part in pod.parts for one in listed(part, "volumes")):
        yield "a hostPath volume"


def _restricted(case: Case) -> Iterator[Finding]:
    if not _is_bare(case):
        yield from _unrestricted(case)


def _pinned(case: Case) -> Iterator[Finding]:
    """IPC_LOCK without an account that a rule of the cluster may allow it to."""
    for pod in pods(case):
        added = pod.of_container("securityContext", "capabilities", "add") or []
        if _PINNED in added and not pod.value("serviceAccountName"):
            yield Finding((*pod.container_path, "securityContext", "capabilities"))


def _product(case: Case) -> Iterator[Finding]:
    if case.gpu is None or case.gpu.resource in ("", "cpu"):
        return
    for pod in pods(case):
        if not pod.value("nodeSelector") and not pod.value("affinity", "nodeAffinity"):
            message = f"the {pod.role} accepts a GPU of any product, but the sizes are for {case.gpu.name}."
            yield Finding((*pod.path, "nodeSelector"), message)


RULES: Final = (
    Rule(
        id="unguarded",
        severity="risk",
        message="The group is not protected.",
        hint=(
            "`multinode render` writes all of it; manifests/service and the components network-policy and "
            "pdb have it for kustomize."
        ),
        seen="docs/security.md",
        check=_bare,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="token-missing",
        severity="risk",
        message=(
            "Without a token anyone who reaches the pods can join the group, and Ray runs what they send."
        ),
        hint=f"Mount a Secret and set its file in {env.TOKEN_FILE}, for head and workers.",
        seen="launcher's handshake, CVE-2023-48022",
        check=_lacks("token-missing"),
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="network-policy-missing",
        severity="risk",
        message=(
            "No NetworkPolicy among the files closes the group's pods: torch, NCCL and vLLM listen on ports "
            "without authentication."
        ),
        hint=(
            "Add one that selects head and workers and lets in clients on 8080, monitoring on 8081, and the "
            f"group itself; {labels.PART_OF} or serving.kserve.io/inferenceservice selects them."
        ),
        seen="the sockets of docs/security.md",
        check=_lacks("network-policy-missing"),
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="disruption-budget-missing",
        severity="risk",
        message=(
            "No PodDisruptionBudget among the files covers head and workers: a drain may take several nodes "
            "at once."
        ),
        hint="Add one with maxUnavailable: 1 that selects head and workers together.",
        seen="Kubernetes' eviction API",
        check=_lacks("disruption-budget-missing"),
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="affinity-missing",
        severity="risk",
        message="Nothing keeps head and workers in one zone, and tensors pass between them with every token.",
        hint=(
            "Add a podAffinity to the group's own label with topology.kubernetes.io/zone, for head and "
            "workers."
        ),
        seen="Kubernetes' scheduler",
        check=_lacks("affinity-missing"),
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="not-restricted",
        severity="risk",
        message="Pod Security's restricted rejects the pods.",
        hint=(
            "Set allowPrivilegeEscalation: false, runAsNonRoot: true, capabilities drop [ALL] and a "
            "seccompProfile of type RuntimeDefault, in the container or its ServingRuntime."
        ),
        seen="Kubernetes' Pod Security Standards, OpenShift's restricted-v2",
        check=_restricted,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="ipc-lock",
        severity="risk",
        message=(
            "restricted-v2 and Pod Security's baseline reject IPC_LOCK, and no service account with "
            "more rights is set."
        ),
        hint=(
            "Name a serviceAccountName: on OpenShift one that the SCC of manifests/operators/80-rdma-scc is "
            "granted to, elsewhere with the namespace's label pod-security.kubernetes.io/enforce: privileged."
        ),
        seen="OpenShift's SCCs, Kubernetes' Pod Security Standards",
        check=_pinned,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="gpu-product-open",
        severity="risk",
        message="The pods may run on any GPU, but the sizes are for a certain one.",
        hint=(
            "Add a nodeSelector with the nodes' label, such as nvidia.com/gpu.product or their instance type."
        ),
        seen="GPU feature discovery",
        check=_product,
        kinds=_KINDS,
        holds=always,
    ),
)
