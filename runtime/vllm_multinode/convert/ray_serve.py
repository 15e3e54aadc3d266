"""Ray Serve: RayService and Serve config files with LLMConfig, and Python files by their syntax tree.

Fields as Ray documents them: ray.serve.llm.LLMConfig, and the RayService of KubeRay (ray.io/v1).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.convert import engine_arguments, environment, hardware
from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.engine_arguments import shown
from vllm_multinode.convert.lws import take_metadata
from vllm_multinode.convert.record import Path, Record
from vllm_multinode.k8s.parser import parse

_CONFIG: Final[Path] = ("spec", "serveConfigV2")
_CLUSTER: Final[Path] = ("spec", "rayClusterConfig")
_NO_CLUSTER: Final = "There is no Ray cluster: KServe makes the pods, and the launcher joins them."
_SCALES: Final = "KServe does not scale multi-node services; replicas stays as it is written."
PYTHON: Final = "PythonFile"
"""The kind under which `python_source` hands over what it has read."""


def is_kind(body: Mapping[str, Any]) -> bool:
    """Whether a document is a RayService, a Serve config, or a Python file that was read."""
    if str(body.get("apiVersion", "")).startswith("ray.io/"):
        return True
    if body.get("kind") == PYTHON:
        return True
    if body.get("kind") or body.get("apiVersion"):
        return False
    return (
        isinstance(body.get("applications"), list) or "llm_configs" in body or "model_loading_config" in body
    )


def convert(record: Record) -> list[Draft]:
    """The services of a RayService or a Serve config: one for each LLMConfig."""
    if record.body.get("kind") == PYTHON:
        return _python(record)
    root: Path | None = _open_service(record) if record.body.get("kind") else ()
    if root is None:
        return []
    drafts = []
    for path in _configs(record, root):
        draft = _llm_config(record, path)
        if draft is not None:
            drafts.append(draft)
    if not drafts and not record.is_refused:
        why = (
            "It holds no LLMConfig. Of a Python application bring the file itself: multinode convert serve.py"
        )
        record.refused(root or _first(record), why)
        return []
    if record.body.get("kind"):
        for draft in drafts:
            take_metadata(record, draft)
        _cluster(record, drafts)
    _applications(record, root)
    return drafts


def _first(record: Record) -> Path:
    return (next(iter(record.body)),) if record.body else ()


def _open_service(record: Record) -> Path | None:
    """Where a RayService has its Serve config; None where it is rejected."""
    if record.body.get("kind") != "RayService":
        record.refused(("kind",), f"A {shown(record.body.get('kind'))} serves no model by itself.")
        return None
    return _open_config(record) if record.has_version("ray.io/v1", "ray.io/v1alpha1") else None


def _open_config(record: Record) -> Path | None:
    text = record.get(*_CONFIG)
    if not isinstance(text, str) or not text.strip():
        record.refused(_CONFIG if text is not None else ("spec",), "It has no serveConfigV2.")
        return None
    try:
        roots = parse(text, f"{record.label}: serveConfigV2")
    except MultinodeError as error:
        record.refused(_CONFIG, f"It is not YAML: {error.what}")
        return None
    content = roots[0].data() if roots else {}
    record.open_text(_CONFIG, content)
    record.changed(_CONFIG, "", "Read as YAML; its fields follow.")
    return _CONFIG


def _configs(record: Record, root: Path) -> Iterator[Path]:
    if record.get(*root, "model_loading_config") is not None:
        yield root
    for index, _ in enumerate(record.list(*root, "llm_configs")):
        yield (*root, "llm_configs", index)
    for number, _ in enumerate(record.list(*root, "applications")):
        base: Path = (*root, "applications", number, "args")
        for index, _ in enumerate(record.list(*base, "llm_configs")):
            yield (*base, "llm_configs", index)
        if record.get(*base, "llm_config") is not None:
            yield (*base, "llm_config")


def _llm_config(record: Record, base: Path) -> Draft | None:
    if not isinstance(record.get(*base), Mapping):
        record.refused(base, "A file with the LLMConfig is named. Convert that file.")
        return None
    loading = (*base, "model_loading_config")
    served, source = record.get(*loading, "model_id"), record.get(*loading, "model_source")
    if not isinstance(served, str) or not served:
        record.refused(loading if record.get(*loading) is not None else base, "It names no model_id.")
        return None
    draft = Draft(served.rpartition("/")[2])
    draft.set("model.servedName", served)
    record.carried((*loading, "model_id"), "model.servedName")
    if isinstance(source, str):
        record.answer((*loading, "model_source"), *engine_arguments.model(draft, source))
    elif isinstance(source, Mapping) and isinstance(source.get("bucket_uri"), str):
        path = (*loading, "model_source", "bucket_uri")
        record.answer(path, *engine_arguments.model(draft, source["bucket_uri"]))
    else:
        engine_arguments.model(draft, served)
    options = record.get(*base, "engine_kwargs")
    if isinstance(options, Mapping):
        engine_arguments.from_mapping(record, draft, (*base, "engine_kwargs"), options)
    kind = record.get(*base, "accelerator_type")
    if isinstance(kind, str):
        hardware.take_shape(record, draft, (*base, "accelerator_type"), kind)
    environment.take_mapping(record, draft, (*base, "runtime_env", "env_vars"))
    _deployment(record, draft, (*base, "deployment_config"))
    record.drop(
        base,
        {
            "llm_engine": "vLLM is the engine.",
            "lora_config": "The claim contains only the base model.",
            "placement_group_config": _NO_CLUSTER,
            "resources_per_bundle": _NO_CLUSTER,
            "log_engine_metrics": "The engine's metrics are on its own port.",
            "experimental_configs": "They steer Ray Serve's own proxy.",
        },
    )
    return draft


def _deployment(record: Record, draft: Draft, base: Path) -> None:
    replicas = record.count(*base, "num_replicas")
    scaling = (*base, "autoscaling_config")
    if replicas:
        draft.set("replicas", replicas)
        record.carried((*base, "num_replicas"), "replicas")
    elif record.get(*base, "num_replicas") is not None:
        record.not_carried((*base, "num_replicas"), _SCALES)
    least = record.count(*scaling, "min_replicas")
    if record.get(*scaling) is not None:
        record.not_carried(scaling, _SCALES)
    if draft.get("replicas") is None and least:
        draft.set("replicas", least)
        record.changed((*scaling, "min_replicas"), "replicas", "The minimum number of replicas.")
    if record.get(*base) is not None and not record.is_answered(base):
        record.drop(
            base,
            {
                "max_ongoing_requests": "vLLM queues requests; max-num-seqs limits how many run.",
                "max_queued_requests": "vLLM queues requests.",
                "ray_actor_options": _NO_CLUSTER,
                "graceful_shutdown_timeout_s": "drain is the time that running requests get.",
                "health_check_period_s": "The launcher's own probes ask the supervisor.",
                "health_check_timeout_s": "The launcher's own probes ask the supervisor.",
            },
        )


def _applications(record: Record, root: Path) -> None:
    for number, _ in enumerate(record.list(*root, "applications")):
        base: Path = (*root, "applications", number)
        for name in ("name", "import_path", "route_prefix"):
            if record.get(*base, name) is not None:
                record.changed((*base, name), "", "vLLM's own server answers, at /v1.")
        record.drop(
            base, {"deployments": _NO_CLUSTER, "runtime_env": "vLLM's image holds what the engine needs."}
        )
    record.drop(
        root,
        dict.fromkeys(
            ("http_options", "grpc_options", "proxy_location", "logging_config"), "vLLM's own server answers."
        ),
    )


def _cluster(record: Record, drafts: list[Draft]) -> None:
    if record.get(*_CLUSTER) is not None:
        record.changed(_CLUSTER, "", _NO_CLUSTER)
    for index, _ in enumerate(record.list(*_CLUSTER, "workerGroupSpecs")):
        base: Path = (*_CLUSTER, "workerGroupSpecs", index)
        containers = (*base, "template", "spec", "containers", 0)
        for part in ("requests", "limits"):
            for name, value in record.entries(*containers, "resources", part).items():
                if "gpu" in str(name):
                    for draft in drafts:
                        hardware.take_gpus(record, draft, (*containers, "resources", part, name), value)
        count = record.get(*base, "replicas")
        if isinstance(count, int) and len(drafts) == 1 and index == 0 and count > 0:
            drafts[0].nodes = count // (drafts[0].get("replicas") or 1)
            record.changed((*base, "replicas"), "parallelism.nodes", "Workers with GPUs are the nodes.")
        for draft in drafts:
            hardware.take_placement(record, draft, (*base, "template", "spec"))
    record.replace(
        ("spec",),
        {
            "serviceUnhealthySecondThreshold": "The launcher's own probes ask the supervisor.",
            "deploymentUnhealthySecondThreshold": "The launcher's own probes ask the supervisor.",
            "serveService": "KServe creates the Services.",
            "upgradeStrategy": "deploymentStrategy controls updates.",
        },
    )


def _python(record: Record) -> list[Draft]:
    """A Python file: what `python_source` found as literals."""
    problem = record.get("problem")
    if problem:
        record.refused(("problem",), str(problem))
        return []
    if record.get("llm_config") is not None:
        found = _llm_config(record, ("llm_config",))
        record.changed(("name",), "", "It names a class or function of the file.")
        record.carried(("kind",), "", "It identifies the document.")
        return [found] if found is not None else []
    options = record.get("engine")
    draft = Draft(str(record.get("name") or "model"))
    record.changed(("name",), "name", "The deployment's class or function.")
    record.carried(("kind",), "", "It identifies the document.")
    if isinstance(options, Mapping):
        engine_arguments.from_mapping(record, draft, ("engine",), options)
    served = record.get("deployment")
    if isinstance(served, Mapping):
        _deployment(record, draft, ("deployment",))
        gpus = record.get("deployment", "ray_actor_options", "num_gpus")
        if gpus is not None:
            path: Path = ("deployment", "ray_actor_options", "num_gpus")
            record.changed(path, "accelerator.perNode", "The GPUs of each node follow from TP and PP.")
    accelerator = record.get("deployment", "ray_actor_options", "accelerator_type")
    if isinstance(accelerator, str):
        hardware.take_shape(
            record, draft, ("deployment", "ray_actor_options", "accelerator_type"), accelerator
        )
    if not draft.get("model"):
        record.refused(("engine",), f"It names no model: {json.dumps(list(options or {}))}")
        return []
    draft.notes.append(
        "The Python code around the engine is not converted: vLLM's own server answers the OpenAI API."
    )
    return [draft]
