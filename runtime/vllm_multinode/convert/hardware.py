"""What the source says of its nodes, as a spec says it."""

from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.authoring.planned_nodes import INSTANCE_TYPE
from vllm_multinode.authoring.spec.accelerators import RESOURCES, AcceleratorType
from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.engine_arguments import shown
from vllm_multinode.convert.record import Path, Record
from vllm_multinode.sizing import catalogue

_UNKNOWN_MAKERS: Final[Mapping[str, str]] = {
    "google.com/tpu": "TPUs",
    "aws.amazon.com/neuron": "Neuron",
    "huawei.com/": "Ascend",
    "qualcomm.com/": "Cloud AI",
}
"""Accelerators that the launcher has not run on."""
_TYPES: Final[Mapping[str, AcceleratorType]] = {
    **{resource: kind for kind, resource in RESOURCES.items() if kind != "none"},
    "gpu.intel.com/xe": "intel",
}


def take_shape(record: Record, draft: Draft, path: Path, name: str) -> None:
    """Take an instance type or an accelerator's name: the plan's GPU, and GPUs of a node."""
    shape = catalogue.find("shape", name)
    facts = catalogue.find("accelerator", shape.accelerator if shape else name)
    if facts is None:
        draft.put("placement.nodeSelector", INSTANCE_TYPE, name)
        why = f"{shown(name)} is not in the catalogue (`multinode gpus`), so nothing was planned for it."
        record.changed(path, f'placement.nodeSelector["{INSTANCE_TYPE}"]', why)
        return
    draft.gpu = shape.name if shape else facts.name
    kind = _TYPES.get(facts.resource, "nvidia")
    draft.set("accelerator.type", kind)
    if shape is None:
        if len(facts.products) == 1:
            draft.set("accelerator.product", facts.products[0])
        record.changed(path, "accelerator", f"The pods select nodes with {facts.name}.")
        return
    if draft.get("accelerator.perNode") is None:
        draft.set("accelerator.perNode", shape.accelerators)
    draft.put("placement.nodeSelector", INSTANCE_TYPE, shape.name)
    target = f'placement.nodeSelector["{INSTANCE_TYPE}"]'
    record.changed(path, target, f"{shape.name} has {shape.accelerators} x {facts.name}.")


def take_resources(record: Record, draft: Draft, base: Path) -> None:
    """Take a container's requests and limits."""
    for part in ("requests", "limits"):
        for name, value in record.entries(*base, part).items():
            _amount(record, draft, (*base, part, name), part, str(name), value)


def _amount(record: Record, draft: Draft, path: Path, part: str, name: str, value: Any) -> None:
    own = {"cpu": "cpu", "memory": "memory", "ephemeral-storage": "ephemeralStorage"}
    if name in own and part == "requests":
        draft.set(f"resources.{own[name]}", value)
        record.carried(path, f"resources.{own[name]}")
    elif name in ("cpu", "memory"):
        draft.set(f"resources.{name}Limit", value)
        record.carried(path, f"resources.{name}Limit")
    elif name in own:
        record.changed(path, "resources.ephemeralStorage", "Requested, and not limited.")
        draft.set("resources.ephemeralStorage", value)
    elif name in _TYPES:
        take_gpus(record, draft, path, value, _TYPES[name])
    elif maker := next((title for start, title in _UNKNOWN_MAKERS.items() if name.startswith(start)), ""):
        record.refused(path, f"{maker} are unknown; `multinode gpus` lists the known GPUs.")
    elif "rdma" in name or name.endswith("/efa"):
        draft.set("network.rdma.resource", name)
        draft.set("network.rdma.count", _count(value) or 1)
        record.carried(path, "network.rdma")
    else:
        draft.put("resources.other", name, value)
        record.carried(path, f'resources.other["{name}"]')


def take_gpus(record: Record, draft: Draft, path: Path, value: Any, kind: AcceleratorType = "nvidia") -> None:
    """Take how many GPUs each pod has."""
    count = _count(value)
    if count is None:
        record.not_carried(path, f"{shown(value)} is not a number of GPUs.")
        return
    if count == 0:
        record.changed(path, "", "A pod without GPUs has no rank of the engine.")
        return
    draft.set("accelerator.type", kind)
    draft.set("accelerator.perNode", count)
    record.carried(path, "accelerator.perNode")


def take_placement(record: Record, draft: Draft, base: Path) -> None:
    """Take a pod's placement, field by field."""
    for name in (
        "nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName",
        "schedulerName", "runtimeClassName",
    ):  # fmt: skip
        value = record.get(*base, name)
        if value in (None, {}, [], ""):
            continue
        if name == "nodeSelector":
            for key, label in value.items():
                draft.put("placement.nodeSelector", key, label)
        else:
            draft.set(f"placement.{name}", value)
        record.carried((*base, name), f"placement.{name}")


def require_labels(record: Record, draft: Draft, base: Path) -> None:
    """Take a label selector for nodes."""
    for key, value in record.entries(*base, "matchLabels").items():
        draft.put("placement.nodeSelector", str(key), value)
        record.carried((*base, "matchLabels", key), f'placement.nodeSelector["{key}"]')
    expressions = record.get(*base, "matchExpressions")
    if isinstance(expressions, list) and expressions:
        terms = [{"matchExpressions": expressions}]
        place = draft.get("placement.affinity") or {}
        node = dict(place.get("nodeAffinity") or {})
        node["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
        draft.set("placement.affinity", {**place, "nodeAffinity": node})
        record.changed((*base, "matchExpressions"), "placement.affinity", "As node affinity.")


def _count(value: Any) -> int | None:
    try:
        number = int(str(value))
    except ValueError:
        return None
    return number if number >= 0 else None
