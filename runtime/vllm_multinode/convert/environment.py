"""The environment of a source's containers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.record import Path, Record
from vllm_multinode.convert.secrets import is_secret, is_secret_name

HUB_TOKENS: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "HUGGINGFACEHUB_API_TOKEN")
_OWN_HOME: Final = "The launcher gives every cache a writable folder."
_NODES: Final = "The launcher joins the nodes, and sets it on each."
_FOLLOWS: Final[Mapping[str, str]] = {
    "HF_HOME": _OWN_HOME,
    "HF_HUB_CACHE": _OWN_HOME,
    "TRANSFORMERS_CACHE": _OWN_HOME,
    "HOME": _OWN_HOME,
    "XDG_CACHE_HOME": _OWN_HOME,
    "VLLM_CACHE_ROOT": _OWN_HOME,
    "VLLM_HOST_IP": _NODES,
    "POD_IP": _NODES,
    "HOST_IP": _NODES,
    "MASTER_ADDR": _NODES,
    "MASTER_PORT": _NODES,
    "RAY_ADDRESS": _NODES,
    "RAY_PORT": _NODES,
    "LWS_GROUP_SIZE": _NODES,
    "LWS_LEADER_ADDRESS": _NODES,
    "HEAD_SVC": _NODES,
    "NODE_RANK": _NODES,
    "WORLD_SIZE": _NODES,
}
_REMOVED: Final[Mapping[str, str]] = {
    "VLLM_USE_V1": "vLLM has only one engine now.",
    "VLLM_ATTENTION_BACKEND": "It is an option of vLLM; set attention-backend under arguments.",
    "PYTHONPATH": "KServe rejects it from 0.18 on.",
}


def take_list(record: Record, draft: Draft, base: Path, names: tuple[str, str] = ("name", "value")) -> None:
    """Take variables as a container lists them: [{name, value}, {name, valueFrom}].

    Args:
        record: of the document that they stand in.
        draft: that they are written to.
        base: path of the list.
        names: keys of a variable's name and value.
    """
    for index, item in enumerate(record.list(*base)):
        path = (*base, index)
        name = item.get(names[0]) if isinstance(item, Mapping) else None
        if not isinstance(name, str):
            record.not_carried(path, "It is not a variable.")
        elif isinstance(item.get("valueFrom"), Mapping):
            take_reference(record, draft, name, item["valueFrom"], path)
        else:
            take(record, draft, name, item.get(names[1], ""), path)


def take_mapping(record: Record, draft: Draft, base: Path) -> None:
    """Take variables as a mapping of names to values."""
    for name, value in record.entries(*base).items():
        take(record, draft, str(name), value, (*base, name))


def take(record: Record, draft: Draft, name: str, value: Any, path: Path) -> None:
    """Take one variable."""
    if name in HUB_TOKENS:
        record.not_carried(path, "It is a token in plain text. Name a Secret as model.sourceSecret.")
        hub_secret(draft)
    elif is_secret_name(name) or is_secret(value):
        secret = f"{draft.service}-env"
        draft.put("env", name, {"valueFrom": {"secretKeyRef": {"name": secret, "key": name}}})
        record.changed(
            path, f"env.{name}", f"A secret in plain text; here it comes from the Secret {secret}."
        )
        draft.todo(f"Create the Secret {secret} with the key {name}: its value is not copied.")
    elif why := _FOLLOWS.get(name):
        record.changed(path, "", why)
    elif why := _REMOVED.get(name):
        record.not_carried(path, why)
    elif isinstance(value, dict | list):
        record.not_carried(path, "Its value is not text.")
    else:
        draft.put("env", name, "" if value is None else value)
        record.carried(path, f"env.{name}")


def hub_secret(draft: Draft, name: str = "", key: str = "token") -> None:
    """Say which Secret the fetch Job reads the hub's token from."""
    secret = name or draft.get("model.sourceSecret") or "hf-token"
    draft.set("model.sourceSecret", secret)
    if key == "token" and name:
        return
    command = f"kubectl create secret generic {secret} --from-literal=token=$HF_TOKEN"
    reason = (
        f"the fetch Job reads the key token, the source's Secret has {key}"
        if name
        else "its value is not copied"
    )
    draft.todo(f"Create the Secret {secret} with the hub's token ({reason}): {command}")


def take_reference(record: Record, draft: Draft, name: str, source: Mapping[str, Any], path: Path) -> None:
    """Take one variable whose value stands elsewhere."""
    kinds = [
        kind
        for kind in ("secretKeyRef", "configMapKeyRef", "fieldRef")
        if isinstance(source.get(kind), Mapping)
    ]
    if name in HUB_TOKENS and kinds == ["secretKeyRef"]:
        reference = source["secretKeyRef"]
        hub_secret(draft, str(reference.get("name", "")), str(reference.get("key", "")))
        record.changed(path, "model.sourceSecret", "The fetch Job asks the hub; the engine needs no token.")
    elif why := _FOLLOWS.get(name):
        record.changed(path, "", why)
    elif not kinds:
        record.not_carried(path, "A variable comes from a Secret, a ConfigMap or a field of the pod.")
    else:
        allowed = {"fieldPath"} if kinds[0] == "fieldRef" else {"name", "key", "optional"}
        reference = {key: value for key, value in source[kinds[0]].items() if key in allowed}
        draft.put("env", name, {"valueFrom": {kinds[0]: reference}})
        record.carried(path, f"env.{name}")


def values(items: Any, names: Sequence[str] = ("name", "value")) -> dict[str, str]:
    """Variables with a plain value, for $(NAME) in arguments."""
    found = {}
    for item in items if isinstance(items, list) else []:
        if isinstance(item, Mapping) and isinstance(item.get(names[1]), str | int | float):
            found[str(item.get(names[0]))] = str(item[names[1]])
    return found
