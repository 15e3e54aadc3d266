"""What is written for the pods: probes, memory, images, and what our own launcher reads."""

import re
from collections.abc import Iterator
from typing import Any, Final

from vllm_multinode.authoring.rules.edits import Edit
from vllm_multinode.authoring.rules.rule import (
    LWS_TEMPLATE,
    PREDICTOR,
    RUNTIMES,
    WORKER_SPEC,
    Case,
    Container,
    Found,
    Rule,
    always,
    lws_parts,
)
from vllm_multinode.k8s.access import Path, at, listed, text

_KINDS: Final = ("InferenceService", *RUNTIMES, "LeaderWorkerSet")
_WRITING: Final = (*RUNTIMES, "LeaderWorkerSet")
_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - the container's own
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


def _probe_ray(case: Case) -> Iterator[Found]:
    for container, name, probe in _probes(case):
        if _SLOW.search(_command(probe)):
            yield Found((*container.path, name, "exec"))


def _probe_completion(case: Case) -> Iterator[Found]:
    for container, name, probe in _probes(case):
        if name != "livenessProbe":
            continue
        asked = f"{_command(probe)} {text(probe, 'httpGet', 'path')}"
        if "completions" in asked or "/generate" in asked:
            yield Found((*container.path, name))


def _probe_health(case: Case) -> Iterator[Found]:
    for container, name, probe in _probes(case):
        path = text(probe, "httpGet", "path")
        if name == "readinessProbe" and (path == "/health" or _HEALTH.search(_command(probe))):
            yield Found((*container.path, name))


def _startup(case: Case) -> Iterator[Found]:
    for container in case.engines:
        if container.body.get("livenessProbe") and not container.body.get("startupProbe"):
            yield Found((*container.path, "livenessProbe"))


def _service_links(case: Case) -> Iterator[Found]:
    places: list[Path] = []
    if case.multi_node:
        places = [PREDICTOR, WORKER_SPEC]
    for part, _ in lws_parts(case.body) if case.document.kind == "LeaderWorkerSet" else []:
        places.append((*LWS_TEMPLATE, part, "spec"))
    for place in places:
        if at(case.body, *place, "enableServiceLinks") is not False:
            path = (*place, "enableServiceLinks")
            yield Found(path, fix=(Edit(path, value=False),))


def _pods(case: Case) -> Iterator[tuple[Path, list[Container]]]:
    """The pods that a ServingRuntime or a LeaderWorkerSet writes out, with the containers of their engine."""
    if case.document.kind == "LeaderWorkerSet":
        places: list[Path] = [(*LWS_TEMPLATE, part, "spec") for part, _ in lws_parts(case.body)]
    else:
        places = [("spec",), ("spec", "workerSpec")] if at(case.body, "spec", "workerSpec") else []
    for place in places:
        inside = [one for one in case.engines if one.path[:-1] == (*place, "containers")]
        yield place, inside


def _shared_memory(case: Case) -> Iterator[Found]:
    for place, inside in _pods(case):
        volumes = {text(volume, "name"): volume for volume in listed(case.body, *place, "volumes")}
        for container in inside:
            mounted = (mount for mount in listed(container.body, "volumeMounts"))
            mounts = [text(mount, "name") for mount in mounted if text(mount, "mountPath") == _SHARED_MEMORY]
            memory = any(text(volumes.get(name), "emptyDir", "medium") == "Memory" for name in mounts)
            if not memory:
                yield Found(container.path)


def _image(case: Case) -> Iterator[Found]:
    for container in case.engines:
        image = text(container.body, "image")
        name = image.rpartition("/")[2]
        if image and "@" not in name and (":" not in name or name.endswith(":latest")):
            what = f"{image} is another image tomorrow: a restarted pod may differ from its group."
            yield Found((*container.path, "image"), what)


def _empty_dir(case: Case) -> Iterator[Found]:
    kind = case.document.kind
    places: list[Path] = [place for place, _ in _pods(case)]
    if kind == "InferenceService":
        places = [PREDICTOR, WORKER_SPEC]
    for place in places:
        for index, volume in enumerate(listed(case.body, *place, "volumes")):
            directory = at(volume, "emptyDir")
            if isinstance(directory, dict) and not directory.get("sizeLimit"):
                yield Found((*place, "volumes", index, "emptyDir"))


RULES: Final = (
    Rule(
        "probe-runs-ray",
        "advice",
        "Each probe starts a Python or Ray process: 0.4 to 1.1 CPU-seconds and 82 to 132 MiB every "
        "time (measured).",
        "Use httpGet on port 8081 of our launcher: /startup, /ready, /live.",
        "measured on KServe's and OpenShift AI's runtimes",
        _probe_ray,
        _KINDS,
        always,
    ),
    Rule(
        "probe-asks-completion",
        "risk",
        "Liveness asks for a completion: a busy server is killed for being busy.",
        "Use httpGet /live on port 8081 of our launcher.",
        "measured on KServe's and OpenShift AI's runtimes",
        _probe_completion,
        _KINDS,
        always,
    ),
    Rule(
        "probe-health",
        "risk",
        "Readiness asks vLLM's /health, which stays 200 after a worker has died (measured).",
        "Use httpGet /ready on port 8081 of our launcher.",
        "measured with vLLM 0.32.0",
        _probe_health,
        _KINDS,
        always,
    ),
    Rule(
        "startup-probe-missing",
        "risk",
        "Liveness begins at once, and a model that loads for long is killed while it loads.",
        "Add a startupProbe that lasts as long as loading may.",
        "Kubernetes' probes",
        _startup,
        _WRITING,
        always,
    ),
    Rule(
        "service-links",
        "advice",
        "Kubernetes writes a variable for every Service: one named vllm gives VLLM_PORT=tcp://…, "
        "which vLLM refuses.",
        "Set enableServiceLinks: false, for the workers as well.",
        "vLLM 0.32.0",
        _service_links,
        _KINDS,
        always,
    ),
    Rule(
        "shared-memory",
        "risk",
        "A container's /dev/shm has 64 MiB where no memory volume is mounted there, too little for NCCL "
        "and vLLM's workers.",
        "Mount an emptyDir with medium: Memory and a sizeLimit at /dev/shm.",
        "launcher's preflight",
        _shared_memory,
        _WRITING,
        always,
    ),
    Rule(
        "image-latest",
        "advice",
        "An image without a fixed tag is another one tomorrow, and a restarted pod may differ from "
        "its group.",
        "Name a version or a digest.",
        "launcher's preflight: versions must agree",
        _image,
        _KINDS,
        always,
    ),
    Rule(
        "empty-dir-limit",
        "advice",
        "An emptyDir without a limit may fill the node, or its memory.",
        "Set sizeLimit.",
        "Kubernetes' volumes",
        _empty_dir,
        _KINDS,
        always,
    ),
)
