"""The runtimes that KServe and OpenShift AI bring along, by shape: what decides nodes, merges and mounts.

Their shell scripts are described in a few words instead of being repeated.

Source: config/runtimes/kserve-huggingfaceserver-multinode.yaml of KServe, v0.15.0 to v0.20.0;
config/runtimes/vllm-multinode-template.yaml of OpenShift AI's odh-model-controller, 2.16 to 3.6.
"""

from typing import Any, Final

from vllm_multinode.platforms import names
from vllm_multinode.platforms.releases import Release
from vllm_multinode.platforms.releases.release import StockRuntime
from vllm_multinode.platforms.simulation import Body

KSERVE: Final = "kserve-huggingfaceserver-multinode"
OPENSHIFT_AI: Final = "vllm-multinode-runtime"

_REGISTERED: Final = "start Ray's head; wait until every node has registered; start the engine"
_HEAD: Final = (
    "start Ray's head; wait until `ray status` counts PIPELINE_PARALLEL_SIZE nodes; start the engine"
)
_WORKER: Final = "wait for the head; ray start --address"
_PROBE: Final = "ask Ray in python"
_COMPLETION: Final = "post to /v1/completions"
_TMP: Final = "/tmp"  # noqa: S108 - the container's own
_CERTIFICATES: Final = "/etc/ray/tls"


def stock_runtimes(release: Release) -> dict[str, Body]:
    """The runtimes for several nodes that a release brings, by name."""
    if not release.stock_runtime:
        return {}
    runtime = stock_runtime(release.stock_runtime)
    return {runtime["metadata"]["name"]: runtime}


def stock_runtime(shape: StockRuntime) -> Body:
    """The runtime of a shape."""
    return _huggingface(shape) if shape.startswith("huggingface") else _openshift_ai(shape)


def _huggingface(shape: StockRuntime) -> Body:
    metadata: Body = {"name": KSERVE}
    if shape == "huggingface-server-type":
        metadata["annotations"] = {names.SERVER_TYPE: "huggingfaceserver"}
    resources = _resources(("2", "6Gi"), ("4", "12Gi"))
    probes = {
        "livenessProbe": _probe(2, 5, 15, _exec(_PROBE)),
        "startupProbe": _probe(40, 30, 30, _exec(_PROBE), 60),
    }
    image = "kserve/huggingfaceserver:latest-gpu"
    head = _container(
        names.HEAD_CONTAINER,
        image,
        env=[_value("RAY_PORT", "6379"), *_downward("POD_NAMESPACE", "POD_IP"),
             _value("VLLM_CONFIG_ROOT", _TMP), _value("HF_HUB_CACHE", _TMP)],
        command=_shell(_REGISTERED),
        args=["--model_name={{.Name}}"],
        resources=resources,
        readinessProbe=_probe(2, 5, 15, _exec(_PROBE)),
        **probes,
    )  # fmt: skip
    worker = _container(
        names.WORKER_CONTAINER,
        image,
        env=_downward("POD_NAME", "POD_NAMESPACE"),
        command=_shell(_WORKER),
        resources=resources,
        **probes,
    )
    spec: Body = {
        "annotations": {"prometheus.kserve.io/port": "8080", "prometheus.kserve.io/path": "/metrics"},
        "supportedModelFormats": [{"name": "huggingface", "version": "1", "autoSelect": True, "priority": 2}],
        "protocolVersions": ["v2", "v1"],
    }
    pipeline = 2 if shape == "huggingface-pp2" else 1
    return _runtime("ClusterServingRuntime", metadata, spec, head, worker, "3Gi", pipeline)


def _openshift_ai(shape: StockRuntime) -> Body:
    head, worker = _of_mp() if shape == "mp" else _of_ray(shape)
    annotations = {"prometheus.io/port": "8080", "prometheus.io/path": "/metrics"}
    if shape in ("ray-tls-labelled", "mp"):
        annotations["opendatahub.io/kserve-runtime"] = "vllm"
    if shape == "mp":
        annotations[names.EXECUTOR] = "mp"
    spec: Body = {
        "annotations": annotations,
        "multiModel": False,
        "supportedModelFormats": [{"name": "vLLM", "autoSelect": True, "priority": 2}],
    }
    runtime = _runtime("ServingRuntime", {"name": OPENSHIFT_AI}, spec, head, worker, "12Gi", 2)
    if shape == "ray-tls-volumes":
        volumes: list[Body] = [
            {"name": "ray-tls", "emptyDir": {}},
            {"name": "ray-tls-secret", "secret": {"secretName": "ray-tls"}},
        ]
        for pod in (runtime["spec"], runtime["spec"]["workerSpec"]):
            pod["volumes"] += volumes
            pod["containers"][0]["volumeMounts"] += [{"name": "ray-tls", "mountPath": _CERTIFICATES}]
    return runtime


_OPENSHIFT_RESOURCES: Final = (("8", "24Gi"), ("16", "48Gi"))
_HOME: Final = [("VLLM_NO_USAGE_STATS", "1"), ("HOME", _TMP), ("HF_HOME", f"{_TMP}/hf_home")]
_PORTS: Final = [{"containerPort": 8080, "name": "http", "protocol": "TCP"}]


def _of_ray(shape: StockRuntime) -> tuple[Body, Body]:
    image = "$(vllm-image)" if shape == "ray" else "$(vllm-cuda-image)"
    tls: list[Body] = []
    if shape != "ray":
        tls = [
            _value("RAY_USE_TLS", "1"),
            _value("RAY_TLS_SERVER_CERT", f"{_CERTIFICATES}/tls.pem"),
            _value("RAY_TLS_SERVER_KEY", f"{_CERTIFICATES}/tls.pem"),
            _value("RAY_TLS_CA_CERT", f"{_CERTIFICATES}/ca.crt"),
        ]
    with_arguments = shape in ("ray-tls", "ray-tls-labelled")
    address = _downward("POD_IP") if tls else []
    resources = _resources(*_OPENSHIFT_RESOURCES)
    probes = {
        "livenessProbe": _probe(2, 5, 15, _exec(_PROBE)),
        "startupProbe": _probe(40, 30, 30, _exec(_PROBE), 20),
    }
    script = {"command": _shell(_HEAD)} if with_arguments else {"command": ["bash", "-c"], "args": [_HEAD]}
    if with_arguments:
        script["args"] = ["--served-model-name={{.Name}}", "--port=8080"]
    head = _container(
        names.HEAD_CONTAINER,
        image,
        env=[*tls, _value("RAY_PORT", "6379"), _value("RAY_ADDRESS", "127.0.0.1:6379"), *address,
             *_downward("POD_NAMESPACE"), *(_value(*pair) for pair in _HOME)],
        resources=resources,
        readinessProbe=_probe(2, 5, 15, _exec(_PROBE)),
        ports=_PORTS,
        **script,
        **probes,
    )  # fmt: skip
    script = (
        {"command": _shell(_WORKER)} if with_arguments else {"command": ["bash", "-c"], "args": [_WORKER]}
    )
    worker = _container(
        names.WORKER_CONTAINER,
        image,
        env=[*tls, *_downward("POD_NAME", "POD_NAMESPACE"), *address],
        resources=resources,
        **script,
        **probes,
    )
    return head, worker


def _of_mp() -> tuple[Body, Body]:
    sizes = [
        "--distributed-executor-backend=mp",
        "--tensor-parallel-size=$(TENSOR_PARALLEL_SIZE)",
        "--pipeline-parallel-size=$(PIPELINE_PARALLEL_SIZE)",
        "--nnodes=$(PIPELINE_PARALLEL_SIZE)",
    ]
    health = {"httpGet": {"path": "/health", "port": 8080}}
    resources = _resources(*_OPENSHIFT_RESOURCES)
    head = _container(
        names.HEAD_CONTAINER,
        "$(vllm-cuda-image)",
        env=[_value("MASTER_PORT", "29500"), *_downward("POD_IP", "POD_NAMESPACE"),
             *(_value(*pair) for pair in _HOME)],
        command=["vllm", "serve"],
        args=["/mnt/models", "--port=8080", "--served-model-name={{.Name}}", *sizes, "--node-rank=0",
              "--master-addr=$(POD_IP)", "--master-port=$(MASTER_PORT)"],
        resources=resources,
        startupProbe=_probe(120, 30, 30, health, 20),
        livenessProbe=_probe(3, 30, 10, _exec(_COMPLETION)),
        readinessProbe=_probe(2, 5, 15, health),
        ports=_PORTS,
    )  # fmt: skip
    worker = _container(
        names.WORKER_CONTAINER,
        "$(vllm-cuda-image)",
        env=[_value(*_HOME[-1]), _value("MASTER_PORT", "29500"),
             *_downward("POD_NAME", "POD_NAMESPACE", "POD_IP")],
        command=[*_shell("rank by place in the list of addresses; vllm serve \"$@\""), "--"],
        args=["/mnt/models", "--port=8080", "--served-model-name=$(ISVC_NAME)", *sizes,
              "--master-addr=$(HEAD_SVC).$(POD_NAMESPACE).svc.cluster.local", "--master-port=$(MASTER_PORT)",
              "--headless"],
        resources=resources,
        startupProbe=_probe(120, 30, 30, _exec("ask the head's /health"), 20),
        livenessProbe=_probe(3, 30, 10, _exec("ask for the process")),
        readinessProbe=_probe(2, 5, 15, _exec("ask the head's /health")),
    )  # fmt: skip
    return head, worker


def _runtime(
    kind: str, metadata: Body, spec: Body, head: Body, worker: Body, shared_memory: str, pipeline: int
) -> Body:
    def volumes() -> list[Body]:
        return [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}}]

    sizes = {"pipelineParallelSize": pipeline, "tensorParallelSize": 1}
    worker_spec = {**sizes, "containers": [worker], "volumes": volumes()}
    whole = {**spec, "containers": [head], "volumes": volumes(), "workerSpec": worker_spec}
    return {"apiVersion": "serving.kserve.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": whole}


def _container(name: str, image: str, **fields: Any) -> Body:
    mounts = [{"name": "shm", "mountPath": "/dev/shm"}]  # noqa: S108 - the container's own
    return {"name": name, "image": image, **fields, "volumeMounts": mounts}


def _shell(script: str) -> list[str]:
    return ["bash", "-c", script]


def _exec(script: str) -> Body:
    return {"exec": {"command": _shell(script)}}


def _value(name: str, value: str) -> Body:
    return {"name": name, "value": value}


def _downward(*variables: str) -> list[Body]:
    fields = {"POD_IP": "status.podIP", "POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": fields[name]}}} for name in variables]


def _resources(requests: tuple[str, str], limits: tuple[str, str]) -> Body:
    parts = {"requests": requests, "limits": limits}
    return {part: {"cpu": cpu, "memory": memory} for part, (cpu, memory) in parts.items()}


def _probe(failures: int, period: int, timeout: int, handler: Body, delay: int = 0) -> Body:
    probe = {
        "failureThreshold": failures,
        "periodSeconds": period,
        "successThreshold": 1,
        "timeoutSeconds": timeout,
        **handler,
    }
    return {**probe, "initialDelaySeconds": delay} if delay else probe
