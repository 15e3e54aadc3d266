"""What is written for the pods: probes, memory, and what our own launcher reads."""

import re
from collections.abc import Iterator
from typing import Any, Final

from vllm_multinode.authoring.rules.rule import (
    LWS_TEMPLATE,
    MODEL,
    PREDICTOR,
    RUNTIMES,
    WORKER_SPEC,
    Case,
    Container,
    Rule,
    always,
    is_ours,
    lws_parts,
)
from vllm_multinode.contract.finding import Edit, Finding, Path
from vllm_multinode.k8s.access import at, listed, mapping, text

_KINDS: Final = ("InferenceService", *RUNTIMES, "LeaderWorkerSet")
_WRITING: Final = (*RUNTIMES, "LeaderWorkerSet")
_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - the container's own
DEADLINE: Final = 600
"""Seconds of progressDeadlineSeconds that KServe writes into its Deployments."""
_HEALTH: Final = re.compile(r"/health\b")
_SLOW: Final = re.compile(r"\b(ray|python3?)\b")


def _probes(case: Case) -> Iterator[tuple[Container, str, dict[str, Any]]]:
    for container in case.engines:
        for name in _PROBES:
            probe = container.body.get(name)
            if isinstance(probe, dict):
                yield container, name, probe


def _command(probe: dict[str, Any]) -> str:
    return " ".join(str(word) for word in listed(probe, "exec", "command"))


def _hint(case: Case, container: Container, others: str) -> str:
    """The hint for launchers of others; empty, so that the rule's own is given, for ours."""
    parts = [container.body]
    if case.document.kind == "InferenceService" and container.role != "other":
        parts.append(case.runtime_container(container.role))
    return "" if any(map(is_ours, parts)) else others


def _probe_ray(case: Case) -> Iterator[Finding]:
    for container, name, probe in _probes(case):
        if _SLOW.search(_command(probe)):
            hint = _hint(case, container, "Use httpGet or tcpSocket, which start no process.")
            yield Finding((*container.path, name, "exec"), hint=hint)


def _probe_completion(case: Case) -> Iterator[Finding]:
    for container, name, probe in _probes(case):
        if name != "livenessProbe":
            continue
        asked = f"{_command(probe)} {text(probe, 'httpGet', 'path')}"
        if "completions" in asked or "/generate" in asked:
            hint = _hint(case, container, "Use httpGet /health, which does not wait for requests.")
            yield Finding((*container.path, name), hint=hint)


def _probe_health(case: Case) -> Iterator[Finding]:
    for container, name, probe in _probes(case):
        path = text(probe, "httpGet", "path")
        if name == "readinessProbe" and (path == "/health" or _HEALTH.search(_command(probe))):
            hint = _hint(
                case, container, "Make readiness check the workers too, for example the number of Ray nodes."
            )
            yield Finding((*container.path, name), hint=hint)


def _startup(case: Case) -> Iterator[Finding]:
    for container in case.engines:
        if container.body.get("livenessProbe") and not container.body.get("startupProbe"):
            yield Finding((*container.path, "livenessProbe"))


def _service_links(case: Case) -> Iterator[Finding]:
    places: list[Path] = []
    if case.multi_node:
        places = [PREDICTOR, WORKER_SPEC]
    for part, _ in lws_parts(case.body) if case.document.kind == "LeaderWorkerSet" else []:
        places.append((*LWS_TEMPLATE, part, "spec"))
    for place in places:
        if at(case.body, *place, "enableServiceLinks") is not False:
            path = (*place, "enableServiceLinks")
            yield Finding(path, fix=(Edit(path, value=False),))


def _pods(case: Case) -> Iterator[tuple[Path, list[Container]]]:
    """The pods that a ServingRuntime or a LeaderWorkerSet writes out, with the containers of their engine."""
    if case.document.kind == "LeaderWorkerSet":
        places: list[Path] = [(*LWS_TEMPLATE, part, "spec") for part, _ in lws_parts(case.body)]
    else:
        places = [("spec",), ("spec", "workerSpec")] if at(case.body, "spec", "workerSpec") else []
    for place in places:
        inside = [one for one in case.engines if one.path[:-1] == (*place, "containers")]
        yield place, inside


def _shared_memory(case: Case) -> Iterator[Finding]:
    for place, inside in _pods(case):
        volumes = {text(volume, "name"): volume for volume in listed(case.body, *place, "volumes")}
        for container in inside:
            mounted = (mount for mount in listed(container.body, "volumeMounts"))
            mounts = [text(mount, "name") for mount in mounted if text(mount, "mountPath") == _SHARED_MEMORY]
            memory = any(text(volumes.get(name), "emptyDir", "medium") == "Memory" for name in mounts)
            if not memory:
                yield Finding(container.path)


def _empty_dir(case: Case) -> Iterator[Finding]:
    kind = case.document.kind
    places: list[Path] = [place for place, _ in _pods(case)]
    if kind == "InferenceService":
        places = [PREDICTOR, WORKER_SPEC]
    for place in places:
        for index, volume in enumerate(listed(case.body, *place, "volumes")):
            directory = at(volume, "emptyDir")
            if isinstance(directory, dict) and not directory.get("sizeLimit"):
                yield Finding((*place, "volumes", index, "emptyDir"))


def _requests(case: Case) -> Iterator[Finding]:
    """Containers that ask for no CPU or memory; an InferenceService's are told at its runtime."""
    for container in case.engines:
        if case.document.kind == "InferenceService":
            continue  # its runtime is told, where it says nothing either
        given = mapping(container.body, "resources", "requests")
        limits = mapping(container.body, "resources", "limits")
        missing = [name for name in ("cpu", "memory") if name not in given and name not in limits]
        if missing and not _given_by_services(case, container.role, missing):
            message = f"the container requests no {' and no '.join(missing)}."
            yield Finding((*container.path, "resources"), message)


def _given_by_services(case: Case, role: str, missing: list[str]) -> bool:
    """Whether each InferenceService among the files that names this runtime asks for what is missing."""
    services = [
        one for one in case.documents
        if one.kind == "InferenceService" and text(one.body, *MODEL, "runtime") == case.document.name
    ]  # fmt: skip
    path: Path = MODEL if role == "head" else (*WORKER_SPEC, "containers", 0)
    parts = ("requests", "limits")
    return bool(services) and all(
        any(at(one.body, *path, "resources", part, name) is not None for part in parts)
        for one in services
        for name in missing
    )


def _deadline(case: Case) -> Iterator[Finding]:
    if not case.multi_node:
        return
    probe = case.service_container("head")[1].get("startupProbe") or case.runtime_container("head").get(
        "startupProbe"
    )
    budget = _budget(probe)
    if budget > DEADLINE:
        message = (
            f"the startup probe allows {budget} s, and the Deployments' progressDeadlineSeconds is "
            f"{DEADLINE}: KServe may report a failure while the model loads, and the service still comes up."
        )
        yield Finding((*MODEL, "startupProbe"), message)


def _budget(probe: object) -> int:
    """Seconds that a startup probe allows."""
    parts = [at(probe, name) for name in ("initialDelaySeconds", "failureThreshold", "periodSeconds")]
    defaults = (0, 3, 10)
    delay, failures, period = (
        value if isinstance(value, int) and not isinstance(value, bool) else default
        for value, default in zip(parts, defaults, strict=True)
    )
    return delay + failures * period if isinstance(probe, dict) else 0


RULES: Final = (
    Rule(
        id="resources-missing",
        severity="risk",
        message=(
            "A full node kills containers without requests for CPU and memory "
            "first; if the head is one of them, the whole group restarts."
        ),
        hint="Write cpu and memory under requests; memory covers loading the model and /dev/shm.",
        seen="Kubernetes' quality of service",
        check=_requests,
        kinds=_WRITING,
        holds=always,
    ),
    Rule(
        id="progress-deadline",
        severity="advice",
        message=(
            "KServe's Deployments have a progressDeadlineSeconds of 600, and the startup probe allows more: "
            "while a large model loads, the service may be reported as failed."
        ),
        hint=(
            "No field of an InferenceService changes it. multinode wait distinguishes a "
            "slow start from a failed one; --target lws has no such deadline."
        ),
        seen="KServe's deployment reconciler",
        check=_deadline,
    ),
    Rule(
        id="probe-runs-ray",
        severity="advice",
        message=(
            "Each probe starts a Python or Ray process: 0.4 to 1.1 CPU-seconds and 82 to 132 MiB every "
            "time (measured)."
        ),
        hint="Use httpGet on port 8081 of the launcher: /startup, /ready, /live.",
        seen="measured on KServe's and OpenShift AI's runtimes",
        check=_probe_ray,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="probe-asks-completion",
        severity="risk",
        message="Liveness requests a completion: a busy server is killed because it is busy.",
        hint="Use httpGet /live on port 8081 of the launcher.",
        seen="measured on KServe's and OpenShift AI's runtimes",
        check=_probe_completion,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="probe-health",
        severity="risk",
        message="Readiness queries vLLM's /health, which stays 200 after a worker has died (measured).",
        hint="Use httpGet /ready on port 8081 of the launcher.",
        seen="measured with vLLM 0.32.0",
        check=_probe_health,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="startup-probe-missing",
        severity="risk",
        message="Liveness begins at once and kills an engine that is still loading.",
        hint="Add a startupProbe that covers the loading time.",
        seen="Kubernetes' probes",
        check=_startup,
        kinds=_WRITING,
        holds=always,
    ),
    Rule(
        id="service-links",
        severity="risk",
        message=(
            "Kubernetes sets variables for every Service: one named vllm sets VLLM_PORT=tcp://…, "
            "which vLLM rejects."
        ),
        hint="Set enableServiceLinks: false, also for the workers.",
        seen="vLLM 0.32.0",
        check=_service_links,
        kinds=_KINDS,
        holds=always,
    ),
    Rule(
        id="shared-memory",
        severity="risk",
        message=(
            "Without a memory volume, a container's /dev/shm has 64 MiB, too little for NCCL and vLLM's "
            "workers."
        ),
        hint="Mount an emptyDir with medium: Memory and a sizeLimit at /dev/shm.",
        seen="launcher's preflight",
        check=_shared_memory,
        kinds=_WRITING,
        holds=always,
    ),
    Rule(
        id="empty-dir-limit",
        severity="advice",
        message="An emptyDir without a limit can fill the node's disk or memory.",
        hint="Set sizeLimit.",
        seen="Kubernetes' volumes",
        check=_empty_dir,
        kinds=_KINDS,
        holds=always,
    ),
)
