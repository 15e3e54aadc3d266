"""Compare what a preview says with what a controller made, apart from what the API server fills in."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

DATA: Final = Path(__file__).parent / "data"
RECORDED: Final = (DATA / "kserve_recorded", DATA / "rhoai_recorded")
"""Of KServe, and of OpenShift AI."""

# What counts as the API server's defaults: (field that holds it, field, value). Another value counts. ""
# stands for any field that holds it.
API_DEFAULTS: Final[tuple[tuple[str, str, Any], ...]] = (
    ("fieldRef", "apiVersion", "v1"),
    ("resourceFieldRef", "divisor", "0"),
    ("httpGet", "scheme", "HTTP"),
    ("ports", "protocol", "TCP"),
    ("configMap", "defaultMode", 420),
    ("secret", "defaultMode", 420),
    ("projected", "defaultMode", 420),
    ("downwardAPI", "defaultMode", 420),
    *(
        (probe, field, value)
        for probe in ("readinessProbe", "livenessProbe", "startupProbe")
        for field, value in (
            ("timeoutSeconds", 1),
            ("periodSeconds", 10),
            ("successThreshold", 1),
            ("failureThreshold", 3),
        )
    ),
    ("", "terminationMessagePath", "/dev/termination-log"),
    ("", "terminationMessagePolicy", "File"),
    ("spec", "restartPolicy", "Always"),
    ("spec", "dnsPolicy", "ClusterFirst"),
    ("spec", "schedulerName", "default-scheduler"),
    ("spec", "terminationGracePeriodSeconds", 30),
    ("spec", "securityContext", {}),
    ("spec", "priority", 0),
    ("spec", "enableServiceLinks", True),
    ("spec", "preemptionPolicy", "PreemptLowerPriority"),
    ("spec", "type", "ClusterIP"),
    ("spec", "sessionAffinity", "None"),
    ("spec", "ipFamilyPolicy", "SingleStack"),
    ("spec", "internalTrafficPolicy", "Cluster"),
    ("spec", "revisionHistoryLimit", 10),
    ("spec", "progressDeadlineSeconds", 600),
    ("containers", "resources", {}),
    ("initContainers", "resources", {}),
)
# Kubernetes' own tolerations, which the admission plugin DefaultTolerationSeconds gives every pod.
POD_TOLERATIONS: Final = tuple(
    {
        "key": f"node.kubernetes.io/{key}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    }
    for key in ("not-ready", "unreachable")
)
# An autoscaler's behaviour is filled in whole; a pull policy follows the image's tag where nobody sets one.
FILLED_WHOLE: Final = frozenset({"behavior"})
# What Kubernetes' Deployment controller counts there.
_REVISION: Final = "deployment.kubernetes.io/revision"
_KEPT_METADATA: Final = ("name", "generateName", "labels", "annotations", "ownerReferences")


def recorded() -> Iterator[dict[str, Any]]:
    """Every recorded case: `case`, `platform`, `verdict`, `input`, `made`; those of KServe also `kserve`."""
    for path in (path for folder in RECORDED for path in sorted(folder.glob("*.jsonl"))):
        for line in path.read_text().splitlines():
            case = json.loads(line)
            if "kserve" in case:
                case["platform"] = f"kserve-{case['kserve'].removeprefix('v')}"
            else:
                # The namespace that it was recorded in stands in what the proxy asks.
                for body in case["input"]:
                    body["metadata"]["namespace"] = f"public-{case['case']}"
            yield case


def comparable(made: Mapping[str, Any]) -> dict[str, Any]:
    """An object without the API server's defaults, and without what only one cluster has (hashes, uids)."""
    cleaned: dict[str, Any] = _without_defaults(
        {key: value for key, value in made.items() if key != "status"}, ""
    )
    cleaned["metadata"] = _metadata(cleaned["metadata"])
    template = cleaned.get("spec", {}).get("template")
    if template:
        template["metadata"] = _metadata(template["metadata"])
    if made["kind"] == "Service":
        for field in ("clusterIPs", "ipFamilies"):
            cleaned["spec"].pop(field, None)
        if cleaned["spec"].get("clusterIP") != "None":
            cleaned["spec"].pop("clusterIP", None)
    if made["kind"] == "Pod":
        _pod(cleaned["spec"])
    return cleaned


def differences(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for each difference: path, ours, theirs."""
    mine, made = _by_name(ours), _by_name(theirs)
    found = [f"{key}: ours, and not made" for key in mine if key not in made]
    found += [f"{key}: made, and not ours" for key in made if key not in mine]
    for key in mine.keys() & made.keys():
        found += _different(comparable(mine[key]), comparable(made[key]), key)
    return sorted(found)


def _by_name(objects: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {f"{one['kind']} {_name(one['metadata'])}": one for one in objects}


def _name(metadata: Mapping[str, Any]) -> str:
    """A pod's name ends in hashes, so it goes by its label `app`."""
    return str(metadata["labels"]["app"] if metadata.get("generateName") else metadata["name"])


def _different(ours: Any, theirs: Any, path: str) -> Iterator[str]:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in {**ours, **theirs}:
            yield from _different(ours.get(key), theirs.get(key), f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _different(one, other, f"{path}[{index}]")
    elif ours != theirs:
        yield f"{path}: ours {ours!r}, theirs {theirs!r}"


def _without_defaults(value: Any, holder: str) -> Any:
    if isinstance(value, list):
        return [_without_defaults(item, holder) for item in value]
    if not isinstance(value, Mapping):
        return value
    cleaned = {key: _without_defaults(item, key) for key, item in value.items() if key not in FILLED_WHOLE}
    for within, field, default in API_DEFAULTS:
        if within in ("", holder) and field in cleaned and cleaned[field] == default:
            del cleaned[field]
    if cleaned.get("serviceAccount") == cleaned.get("serviceAccountName"):
        cleaned.pop("serviceAccount", None)  # the old name of the same field
    if cleaned.get("imagePullPolicy") == _pull_policy(cleaned.get("image", "")):
        del cleaned["imagePullPolicy"]
    return cleaned


def _pull_policy(image: str) -> str:
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if not tag or tag == "latest" else "IfNotPresent"


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: metadata[key] for key in _KEPT_METADATA if metadata.get(key)}
    kept.pop("generateName", None)
    if "generateName" in metadata:
        kept.pop("name", None)
        kept.pop("ownerReferences", None)  # its ReplicaSet, which has a hash for a name
    if "annotations" in kept:
        kept["annotations"] = {key: value for key, value in kept["annotations"].items() if key != _REVISION}
    if "labels" in kept:
        kept["labels"] = {key: value for key, value in kept["labels"].items() if key != "pod-template-hash"}
    if "ownerReferences" in kept:
        kept["ownerReferences"] = [
            {key: value for key, value in one.items() if key != "uid"} for one in kept["ownerReferences"]
        ]
    return kept


def _pod(spec: dict[str, Any]) -> None:
    """Without Kubernetes' own tolerations."""
    tolerations = [one for one in spec.get("tolerations", []) if one not in POD_TOLERATIONS]
    spec.pop("tolerations", None)
    if tolerations:
        spec["tolerations"] = tolerations
