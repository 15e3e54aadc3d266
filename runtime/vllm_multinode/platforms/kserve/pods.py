"""Pod specs of head and workers as KServe's controller writes them into its Deployments.

Source: pkg/controller/v1beta1/inferenceservice/components/predictor.go (buildPodSpec, multiNodeProcess) and
reconcilers/deployment/deployment_reconciler.go, v0.14.1 to v0.20.0.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from vllm_multinode.contract import env
from vllm_multinode.contract.executors import KSERVE_EXECUTOR, ExecutorName, counted_by_kserve
from vllm_multinode.contract.finding import Finding, Path
from vllm_multinode.contract.kserve import Role
from vllm_multinode.k8s.merge import strategic_merge
from vllm_multinode.platforms import gpus, names
from vllm_multinode.platforms.kserve import containers
from vllm_multinode.platforms.kserve.defaulting import container_part, pod_part, runtime_pod_fields
from vllm_multinode.platforms.kserve.environment import Service, injected_environment
from vllm_multinode.platforms.kserve.nodes import Layout, layout
from vllm_multinode.platforms.releases import Release
from vllm_multinode.platforms.simulation import Body

_PROBE_PORT: Final = 8080
_PROBE: Final = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_EDGES: Final = (names.HEAD_CONTAINER, names.TRANSFORMER_CONTAINER)


class NothingMade(Exception):  # noqa: N818 - an outcome that the preview tells, not a fault
    """The controller stops before it makes anything.

    Args:
        rule: of docs/rules.md.
        text: why, with KServe's reason.
        path: of the field that it is about.
        of_runtime: the field is the ServingRuntime's.
    """

    def __init__(self, rule: str, text: str, path: Path, *, of_runtime: bool = False) -> None:
        super().__init__(text)
        self.finding = Finding(path, f"KServe creates no pods: {text}", rule=rule)
        self.of_runtime = of_runtime


def head_pod(service: Body, runtime: Body, release: Release, generation: int) -> Body:
    """The head's pod spec before the multi-node part: merged, with placeholders and image tag.

    Args:
        service: an InferenceService after defaulting, with a `model`.
        runtime: the runtime it is laid over, pruned.
        release: of KServe or OpenShift AI.
        generation: of the InferenceService.

    Raises:
        NothingMade: KServe's merge fails.
    """
    spec, predictor = runtime["spec"], service["spec"]["predictor"]
    base = _named(spec["containers"], names.HEAD_CONTAINER, "head-container-name", ("spec", "containers"))
    over = container_part(predictor["model"])
    main = _merged(base, over, release, ("spec", "predictor", "model"))
    try:
        main = containers.replaced(main, service["metadata"], generation)
    except containers.PlaceholderError as error:
        raise NothingMade(
            "placeholder-unknown",
            f"InvalidPredictorSpec: failed to replace placeholders in serving runtime "
            f"{runtime['metadata']['name']} Container {names.HEAD_CONTAINER}: {_short(error)}.",
            ("spec", "containers"),
            of_runtime=True,
        ) from error
    main = containers.with_tag(main, predictor["model"], runtime, release)
    pod = _merged_pod(spec, predictor, release, ("spec", "predictor"))
    pod["containers"] = [main, *_others(spec, predictor, service, release, generation)]
    if release.injects_service_name:
        name = service["metadata"]["name"]
        pod["containers"] = [
            containers.with_variable(one, env.INFERENCE_SERVICE_NAME, name) for one in pod["containers"]
        ]
    return pod


def panic(release: Release) -> str:
    """What a panic of the controller means, as the end of a sentence."""
    if release.panics_end_manager:
        return (
            f"the controller of {release.label} panics and ends, for every service of the cluster, and again "
            "each time that it is started."
        )
    return (
        f"the controller of {release.label} panics on every reconcile, and neither object nor condition "
        "appears."
    )


def worker_pod(service: Body, runtime: Body, release: Release) -> Body:
    """The workers' pod spec before counts and environment; placeholders stay as they are written.

    Raises:
        NothingMade: KServe's merge fails, or there is no container to merge.
    """
    spec = runtime["spec"].get("workerSpec")
    worker = service["spec"]["predictor"]["workerSpec"]
    if spec is None:
        raise NothingMade(
            "runtime-without-worker-spec",
            f"the ServingRuntime {runtime['metadata']['name']} has no workerSpec: {panic(release)}",
            ("spec", "predictor", "workerSpec"),
        )
    marks = service["metadata"].get("annotations") or {}
    if release.panics_over_gpu_types and marks.get(names.GPU_TYPES) and not spec.get("annotations"):
        # It writes the annotation into the workers' annotations, a nil map where there are none.
        raise NothingMade(
            "gpu-types-panic",
            f"{names.GPU_TYPES} is set, and the ServingRuntime's workerSpec has no annotations: "
            f"{panic(release)}",
            ("metadata", "annotations", names.GPU_TYPES),
        )
    if not spec.get("containers"):
        raise NothingMade(
            "worker-container-name",
            "InvalidPredictorSpec: No workerSpec container configuration found in selected serving runtime.",
            ("spec", "workerSpec"),
            of_runtime=True,
        )
    base = _named(
        spec["containers"],
        names.WORKER_CONTAINER,
        "worker-container-name",
        ("spec", "workerSpec", "containers"),
    )
    over = (worker.get("containers") or [{}])[0]
    path = ("spec", "predictor", "workerSpec")
    pod = _merged_pod(spec, worker, release, path)
    pod["containers"] = [_merged(base, over, release, (*path, "containers", 0))]
    if pod["containers"][0]["name"] != names.WORKER_CONTAINER:
        raise NothingMade(
            "worker-container-name",
            f"InvalidGPUAllocation: target container({names.WORKER_CONTAINER}) does not exist; the worker's "
            f"container is named '{pod['containers'][0]['name']}'.",
            (*path, "containers", 0, "name"),
        )
    return pod


def sizes(service: Body, runtime: Body) -> tuple[int, int]:
    """TP and PP: the InferenceService's over the ServingRuntime's, default 1."""
    below = runtime["spec"].get("workerSpec") or {}
    above = service["spec"]["predictor"].get("workerSpec") or {}

    def size(field: str) -> int:
        value = above.get(field, below.get(field))
        return 1 if value is None else int(value)

    return size("tensorParallelSize"), size("pipelineParallelSize")


def executor_of(runtime: Body, release: Release) -> ExecutorName:
    """`mp` where the runtime's spec.annotations say exactly so and KServe knows it."""
    annotation = (runtime["spec"].get("annotations") or {}).get(names.EXECUTOR)
    return counted_by_kserve(annotation) if release.knows_mp_annotation else KSERVE_EXECUTOR


def counted(
    release: Release, executor: ExecutorName, tensor: int, pipeline: int, head: Body, worker: Body
) -> Layout:
    """Nodes and accelerators, from the requests of both merged pods.

    Raises:
        MultinodeError: the requests hold fewer accelerators than TP x PP.
    """
    return layout(
        release,
        executor,
        tensor_parallel=tensor,
        pipeline_parallel=pipeline,
        head_gpus=gpus.requested(head["containers"][0]),
        worker_gpus=gpus.requested(worker["containers"][0]),
    )


def with_environment(
    pod: Body, release: Release, role: Role, service: Service, overrides: Mapping[str, str] | None = None
) -> Body:
    """The pod with the variables that KServe injects into its main container."""
    injected = injected_environment(release, role, service)
    main = names.HEAD_CONTAINER if role == "head" else names.WORKER_CONTAINER

    def filled(container: Body) -> Body:
        if container["name"] != main:
            return container
        for name, value in injected.items():
            container = containers.with_variable(container, name, (overrides or {}).get(name, value))
        return container

    return {**pod, "containers": [filled(one) for one in pod["containers"]]}


def with_gpus(pod: Body, container: str, count: int, types: Sequence[str]) -> Body:
    """The pod with `count` written to limits and requests of its main container's GPU resource."""
    made = []
    for one in pod["containers"]:
        if one["name"] == container:
            resource = gpus.resource_of(one, types)
            asked = one.get("resources") or {}
            parts = {
                part: {**(asked.get(part) or {}), resource: str(count)} for part in ("limits", "requests")
            }
            one = {**one, "resources": {**asked, **parts}}
        made.append(one)
    return {**pod, "containers": made}


def with_defaults(pod: Body) -> Body:
    """The pod with what KServe itself sets where nothing is written, ahead of the API server's defaults."""
    made: Body = {
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "securityContext": {},
        "schedulerName": "default-scheduler",
        **pod,
    }
    made["containers"] = [_container_defaults(one) for one in pod["containers"]]
    return made


def _container_defaults(container: Body) -> Body:
    made = {
        **container,
        "terminationMessagePath": container.get("terminationMessagePath", "/dev/termination-log"),
        "terminationMessagePolicy": container.get("terminationMessagePolicy", "File"),
        "imagePullPolicy": container.get("imagePullPolicy", "IfNotPresent"),
    }
    if made["name"] in _EDGES and "readinessProbe" not in made:
        ports = made.get("ports") or []
        port = ports[0]["containerPort"] if ports else _PROBE_PORT
        made["readinessProbe"] = {"tcpSocket": {"port": port}, **_PROBE}
    return made


def _others(
    spec: Mapping[str, Any], predictor: Mapping[str, Any], service: Body, release: Release, generation: int
) -> list[Body]:
    """Sidecars: the transformer first, then the runtime's, then the InferenceService's."""
    of_runtime = [one for one in spec["containers"] if one["name"] not in _EDGES]
    if not release.merges_sidecars:
        return [one for one in spec["containers"] if one["name"] != names.HEAD_CONTAINER]
    written = predictor.get("containers") or []
    of_service = [one for one in written if one["name"] != names.TRANSFORMER_CONTAINER]
    below = [one for one in spec["containers"] if one["name"] == names.TRANSFORMER_CONTAINER]
    above = [one for one in written if one["name"] == names.TRANSFORMER_CONTAINER]
    if not below and not above:
        return [*of_runtime, *of_service]
    transformer = dict((below or above)[0])
    if below and above:
        transformer = _merged(transformer, above[0], release, ("spec", "predictor", "containers"))
    try:
        transformer = containers.replaced(transformer, service["metadata"], generation)
    except containers.PlaceholderError as error:
        raise NothingMade(
            "placeholder-unknown",
            f"InvalidPredictorSpec: failed to replace placeholders in {names.TRANSFORMER_CONTAINER}: "
            f"{_short(error)}.",
            ("spec", "containers"),
            of_runtime=True,
        ) from error
    return [transformer, *of_runtime, *of_service]


def _merged(base: Body, over: Body, release: Release, path: Path) -> Body:
    try:
        return containers.merged(base, over, release)
    except ValueError as error:
        raise NothingMade(
            "merge", f"InvalidPredictorSpec: failed to merge container: {error}", path
        ) from error


def _merged_pod(spec: Mapping[str, Any], over: Mapping[str, Any], release: Release, path: Path) -> Body:
    """A pod's fields without its containers: the runtime's few, the InferenceService's over them."""
    carried = runtime_pod_fields(release) - {"containers", "labels", "annotations"}
    base = {key: value for key, value in spec.items() if key in carried}
    patch = {key: value for key, value in pod_part(over).items() if key != "containers"}
    try:
        return strategic_merge(base, patch)
    except ValueError as error:
        text = f"InvalidPredictorSpec: failed to consolidate serving runtime PodSpecs: {error}"
        raise NothingMade("missing-field", text, path) from error


def _named(found: Sequence[Body], name: str, rule: str, path: Path) -> Body:
    for container in found:
        if container["name"] == name:
            return dict(container)
    text = f"InvalidPredictorSpec: failed to find {name} in ServingRuntime containers."
    raise NothingMade(rule, text, (*path, 0, "name") if found else path, of_runtime=True)


def _short(error: Exception) -> str:
    text = str(error)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
