"""KAITO: Workspace and InferenceSet (kaito.sh), with the ConfigMaps that they name.

Fields and presets as kaito-project/kaito has them in api/v1alpha1, api/v1beta1 and pkg/utils/plugin.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.convert import engine_arguments, hardware
from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.environment import hub_secret
from vllm_multinode.convert.record import Path, Record
from vllm_multinode.convert.secrets import is_secret
from vllm_multinode.k8s.parser import parse
from vllm_multinode.sizing import catalogue

GROUP: Final = "kaito.sh"
_SERVES: Final = ("Workspace", "InferenceSet")
_REFUSED: Final[Mapping[str, str]] = {
    "RAGEngine": "It is a RAG engine, not a model that is served.",
    "MultiRoleInference": "It serves prefill and decode with separate engines; a group is one engine. "
    "KServe's LLMInferenceService and llm-d do that.",
}
PRESETS: Final[Mapping[str, str]] = {
    "deepseek-r1-0528": "deepseek-ai/DeepSeek-R1-0528",
    "deepseek-r1-distill-llama-8b": "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
    "deepseek-r1-distill-qwen-14b": "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
    "deepseek-v3-0324": "deepseek-ai/DeepSeek-V3-0324",
    "falcon-7b": "tiiuae/falcon-7b",
    "falcon-7b-instruct": "tiiuae/falcon-7b-instruct",
    "falcon-40b": "tiiuae/falcon-40b",
    "falcon-40b-instruct": "tiiuae/falcon-40b-instruct",
    "gemma-3-27b-instruct": "google/gemma-3-27b-it",
    "gemma-3-4b-instruct": "google/gemma-3-4b-it",
    "gpt-oss-120b": "openai/gpt-oss-120b",
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "llama-3.1-8b-instruct": "meta-llama/Llama-3.1-8B-Instruct",
    "llama-3.3-70b-instruct": "meta-llama/Llama-3.3-70B-Instruct",
    "ministral-3-14b-instruct": "mistralai/Ministral-3-14B-Instruct-2512",
    "ministral-3-3b-instruct": "mistralai/Ministral-3-3B-Instruct-2512",
    "ministral-3-8b-instruct": "mistralai/Ministral-3-8B-Instruct-2512",
    "mistral-7b": "mistralai/Mistral-7B-v0.3",
    "mistral-7b-instruct": "mistralai/Mistral-7B-Instruct-v0.3",
    "mistral-large-3-675b-instruct": "mistralai/Mistral-Large-3-675B-Instruct-2512",
    "phi-2": "microsoft/phi-2",
    "phi-3-medium-128k-instruct": "microsoft/Phi-3-medium-128k-instruct",
    "phi-3-medium-4k-instruct": "microsoft/Phi-3-medium-4k-instruct",
    "phi-3-mini-128k-instruct": "microsoft/Phi-3-mini-128k-instruct",
    "phi-3-mini-4k-instruct": "microsoft/Phi-3-mini-4k-instruct",
    "phi-3.5-mini-instruct": "microsoft/Phi-3.5-mini-instruct",
    "phi-4": "microsoft/phi-4",
    "phi-4-mini-instruct": "microsoft/Phi-4-mini-instruct",
    "qwen2.5-coder-32b-instruct": "Qwen/Qwen2.5-Coder-32B-Instruct",
    "qwen2.5-coder-7b-instruct": "Qwen/Qwen2.5-Coder-7B-Instruct",
}
"""KAITO's short names; every other preset is the hub's own id."""
DEFAULT_CONTEXT: Final = 2048
"""Tokens that KAITO's estimator counts with where max-model-len is not set."""
_FROM_HUB: Final = "The weights come from the hub, not from KAITO's image."
_CONFIG: Final = "inference_config.yaml"
_PROVISIONS: Final = "KAITO provisions nodes; here they must exist, or the cluster's autoscaler adds them."


def is_kind(body: Mapping[str, Any]) -> bool:
    """Whether a document is KAITO's."""
    return str(body.get("apiVersion", "")).partition("/")[0] == GROUP


def convert(record: Record, others: Sequence[Record]) -> list[Draft]:
    """The service of a Workspace or InferenceSet."""
    kind = str(record.body.get("kind", ""))
    if kind not in _SERVES:
        record.refused(("kind",), _REFUSED.get(kind, f"A {kind} of KAITO serves no model."))
        return []
    if not record.has_version(f"{GROUP}/v1alpha1", f"{GROUP}/v1beta1"):
        return []
    draft = Draft(str(record.get("metadata", "name") or "model"))
    _head(record, draft, ("metadata",))
    root: Path = ()
    if kind == "InferenceSet":
        root = ("spec", "template")
        _set(record, draft)
        _head(record, draft, (*root, "metadata"), of_template=True)
    if record.get(*root, "tuning") is not None:
        record.refused((*root, "tuning"), "It tunes a model; a group serves one.")
        return []
    _resource(record, draft, (*root, "resource"))
    _inference(record, draft, (*root, "inference"), others)
    if record.is_refused:
        return []
    if record.get("status") is not None:
        record.changed(("status",), "", "It is what KAITO reports, not what is requested.")
    return [draft]


def _head(record: Record, draft: Draft, base: Path, *, of_template: bool = False) -> None:
    if not of_template:
        record.carried(("apiVersion",), "", "It identifies the document.")
        record.carried(("kind",), "", "It identifies the document.")
    for field in ("labels", "annotations"):
        for key, value in record.entries(*base, field).items():
            path = (*base, field, key)
            if GROUP in str(key).partition("/")[0]:
                record.not_carried(path, "It configures KAITO's own controller.")
            elif is_secret(value):
                record.not_carried(path, "It looks like a secret in plain text.")
            else:
                draft.put(field, str(key), value)
                record.carried(path, f'{field}["{key}"]')
    if isinstance(record.get(*base, "namespace"), str):
        draft.set("namespace", record.get(*base, "namespace"))
        record.carried((*base, "namespace"), "namespace")


def _set(record: Record, draft: Draft) -> None:
    replicas = record.count("spec", "replicas")
    if replicas:
        draft.set("replicas", replicas)
        record.carried(("spec", "replicas"), "replicas")
    elif record.get("spec", "replicas") is not None:
        record.not_carried(("spec", "replicas"), "A service has at least one group.")
    hardware.require_labels(record, draft, ("spec", "labelSelector"))
    record.drop(
        ("spec",),
        {
            "nodeCountLimit": "The number of nodes follows from replicas and parallelism.",
            "updateStrategy": "deploymentStrategy controls updates.",
            "autoUpgrade": "The image changes when you change it.",
        },
    )


def _resource(record: Record, draft: Draft, base: Path) -> None:
    count = record.count(*base, "count")
    if count:
        draft.most_nodes = count
        why = f"An upper bound: the plan takes at most {count} node{'' if count == 1 else 's'}."
        record.changed((*base, "count"), "parallelism.pipeline", why)
    elif record.get(*base, "count") is not None:
        record.not_carried((*base, "count"), "It is not a number of nodes.")
    shape = record.get(*base, "instanceType")
    if isinstance(shape, str) and shape:
        hardware.take_shape(record, draft, (*base, "instanceType"), shape)
        draft.notes.append(_PROVISIONS)
    hardware.require_labels(record, draft, (*base, "labelSelector"))
    preferred = record.get(*base, "preferredNodes")
    if isinstance(preferred, list) and preferred:
        draft.set("placement.preferredNodes", [str(name) for name in preferred])
        record.carried((*base, "preferredNodes"), "placement.preferredNodes")
    _partition(record, draft, (*base, "partition"))


def _partition(record: Record, draft: Draft, base: Path) -> None:
    mode = record.get(*base, "mode")
    if mode == "accelerator":
        record.carried((*base, "mode"), "accelerator.perNode")
        hardware.take_gpus(record, draft, (*base, "count"), record.get(*base, "count"))
    elif mode is not None:
        record.refused(base, "A fraction of a GPU cannot hold a stage of a multi-node engine.")


def _inference(record: Record, draft: Draft, base: Path, others: Sequence[Record]) -> None:
    if record.get(*base, "template") is not None:
        why = "It uses its own pod template; set the model as preset, or convert what it runs."
        record.refused((*base, "template"), why)
        return
    preset = record.get(*base, "preset", "name")
    if not isinstance(preset, str) or not preset:
        record.refused(base or ("inference",), "It names no preset, so there is no model to serve.")
        return
    hub = hub_id(preset)
    draft.set("model.source", f"hf://{hub}")
    draft.set("model.servedName", preset.rpartition("/")[2].lower() if "/" in preset else preset)
    record.changed((*base, "preset", "name"), "model.source", f"The hub's {hub}, fetched once into a claim.")
    _preset_options(record, draft, (*base, "preset"))
    draft.plan_context = DEFAULT_CONTEXT
    _config(record, draft, (*base, "config"), others)
    if draft.get("context") is None:
        draft.set("context", "auto")
        draft.notes.append(
            f"Without max-model-len KAITO plans with {DEFAULT_CONTEXT} tokens and serves as many as there is "
            "room for; context: auto does the same."
        )
    adapters = record.get(*base, "adapters")
    if isinstance(adapters, list) and adapters:
        record.not_carried((*base, "adapters"), "The claim contains only the base model.")
        draft.todo(
            "Copy each LoRA adapter into a folder of the claim, and add enable-lora: true and lora-modules: "
            "NAME=/mnt/models/… under arguments. vLLM has no adapter strength."
        )


def hub_id(preset: str) -> str:
    """The hub's repository of a preset; spelt as the catalogue has it where it knows it."""
    name = PRESETS.get(preset.lower(), preset)
    found = catalogue.find("model", name)
    return found.name if found is not None and "/" in found.name else name


def _preset_options(record: Record, draft: Draft, base: Path) -> None:
    record.replace(base, {"accessMode": _FROM_HUB})
    record.replace((*base, "presetOptions"), {"image": _FROM_HUB, "imagePullSecrets": _FROM_HUB})
    secret = record.get(*base, "presetOptions", "modelAccessSecret")
    if isinstance(secret, str) and secret:
        hub_secret(draft, secret, "HF_TOKEN")
        why = "KAITO reads its key HF_TOKEN, the fetch Job its key token."
        record.changed((*base, "presetOptions", "modelAccessSecret"), "model.sourceSecret", why)


def _config(record: Record, draft: Draft, path: Path, others: Sequence[Record]) -> None:
    name = record.get(*path)
    if not isinstance(name, str) or not name:
        return
    given = next((one for one in others if _is_config_map(one, name)), None)
    text = given.get("data", _CONFIG) if given is not None else None
    if given is None or not isinstance(text, str):
        record.not_carried(path, f"The ConfigMap {name} with {_CONFIG} is not among the files.")
        draft.todo(f"Convert again with the ConfigMap {name}: it holds vLLM's arguments.")
        return
    record.changed(path, "arguments", f"What its {_CONFIG} says.")
    inner: Path = ("data", _CONFIG)
    for field in ("apiVersion", "kind", "metadata"):
        given.changed((field,), "", "It holds the arguments of a Workspace.")
    try:
        roots = parse(text, f"{given.label}: {_CONFIG}")
    except MultinodeError as error:
        given.refused(inner, f"It is not YAML: {error.what}")
        record.refused(path, f"The {_CONFIG} of {name} is not YAML.")
        return
    content = roots[0].data() if roots else {}
    given.open_text(inner, content)
    given.changed(inner, "arguments", "Read as YAML; its fields follow.")
    if not isinstance(content, Mapping):
        given.not_carried(inner, "It is not a mapping.")
        return
    for key, value in content.items():
        if key == "vllm" and isinstance(value, Mapping):
            engine_arguments.from_mapping(given, draft, (*inner, "vllm"), value)
        elif key == "max_probe_steps":
            given.changed((*inner, key), "context", "vLLM itself determines how many tokens fit.")
        else:
            given.not_carried((*inner, key), "It is for KAITO's other engine.")


def _is_config_map(record: Record, name: str) -> bool:
    return record.body.get("kind") == "ConfigMap" and record.get("metadata", "name") == name
