"""Which ServingRuntime an InferenceService gets, and why it gets none.

Source: pkg/controller/v1beta1/inferenceservice/components/predictor.go (reconcileModel) and
pkg/apis/serving/v1beta1/predictor_model.go, v0.14.1 to v0.20.0.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from vllm_multinode.contract.finding import Path
from vllm_multinode.platforms.releases import Release
from vllm_multinode.platforms.simulation import Body

_PROTOCOLS: Final = {"v1": 1, "v2": 2, "grpc-v1": 3, "grpc-v2": 4}
_UNKNOWN: Final = 5
_MODEL: Final[Path] = ("spec", "predictor", "model")


class Selection(NamedTuple):
    """A runtime, or the reason why there is none.

    Attributes:
        runtime: the object; None where nothing is made.
        problem: KServe's reason and text.
        path: of the field of the InferenceService that decides.
        elsewhere: no runtime of the input is meant, so that the cluster may have it.
    """

    runtime: Body | None
    problem: str = ""
    path: Path = _MODEL
    elsewhere: bool = False


def select(service: Mapping[str, Any], runtimes: Sequence[Body], release: Release) -> Selection:
    """The runtime of a defaulted InferenceService among those of the input."""
    model = service["spec"]["predictor"]["model"]
    name = model.get("runtime")
    namespace = service["metadata"].get("namespace", "")
    near = [one for one in runtimes if one["kind"] == "ServingRuntime" and _same_namespace(one, namespace)]
    wide = [one for one in runtimes if _is_wide(one)] if release.knows_cluster_runtimes else []
    if name:
        found = next((one for one in (*near, *wide) if one["metadata"]["name"] == name), None)
        if found is None and any(one["metadata"]["name"] == name for one in runtimes if _is_wide(one)):
            problem = (
                f"RuntimeNotRecognized: {release.label} reads no ClusterServingRuntime, and {name} is one."
            )
            return Selection(None, problem, (*_MODEL, "runtime"))
        return _named(name, found, model)
    multi_node = service["spec"]["predictor"].get("workerSpec") is not None
    for group in (near, wide):
        fitting = [one for one in group if _fits(one["spec"], model, multi_node, release)]
        if fitting:
            return Selection(min(fitting, key=lambda one: _order(one, model)))
    wanted = " with a workerSpec" if multi_node else ""
    return Selection(
        None,
        f"no runtime is named, and none{wanted} among the files supports the format {_label(model)} "
        f"automatically with protocol {model.get('protocolVersion', 'v1')}",
        (*_MODEL, "modelFormat"),
        elsewhere=True,
    )


def _is_wide(runtime: Mapping[str, Any]) -> bool:
    return bool(runtime["kind"] == "ClusterServingRuntime")


def _named(name: str, found: Body | None, model: Mapping[str, Any]) -> Selection:
    path: Path = (*_MODEL, "runtime")
    if found is None:
        return Selection(
            None, f"the ServingRuntime {name} is neither among the files nor known", path, elsewhere=True
        )
    spec = found["spec"]
    if spec.get("disabled"):
        return Selection(None, f"RuntimeDisabled: specified runtime {name} is disabled.", path)
    if not _speaks(spec, model.get("protocolVersion", "")):
        return Selection(
            None,
            f"NoSupportingRuntime: specified runtime {name} does not support protocol version "
            f"{model['protocolVersion']}.",
            path,
        )
    if _label(model) not in _labels(spec, named=True):
        return Selection(
            None,
            f"NoSupportingRuntime: specified runtime {name} does not support framework/version "
            f"{_label(model)}.",
            (*_MODEL, "modelFormat"),
        )
    return Selection(found)


def _same_namespace(runtime: Mapping[str, Any], namespace: str) -> bool:
    """Objects without a namespace go to the one that the command line names, so they stand beside any."""
    own = runtime["metadata"].get("namespace", "")
    return not own or not namespace or own == namespace


def _fits(spec: Mapping[str, Any], model: Mapping[str, Any], multi_node: bool, release: Release) -> bool:
    if spec.get("disabled") or spec.get("multiModel"):
        return False
    if release.knows_worker_spec and (spec.get("workerSpec") is not None) is not multi_node:
        return False
    return _label(model) in _labels(spec, named=False) and _speaks(spec, model.get("protocolVersion", "v1"))


def _label(model: Mapping[str, Any]) -> str:
    wanted = model["modelFormat"]
    return f"{wanted['name']}:{wanted['version']}" if wanted.get("version") else str(wanted["name"])


def _labels(spec: Mapping[str, Any], *, named: bool) -> set[str]:
    labels: set[str] = set()
    for one in spec.get("supportedModelFormats") or []:
        if named or one.get("autoSelect"):
            labels.add(one["name"])
            if one.get("version"):
                labels.add(f"{one['name']}:{one['version']}")
    return labels


def _speaks(spec: Mapping[str, Any], protocol: str) -> bool:
    spoken = spec.get("protocolVersions") or []
    return not protocol or not spoken or protocol in spoken


def _order(runtime: Mapping[str, Any], model: Mapping[str, Any]) -> tuple[bool, int, int, str]:
    """Higher priority first, then the lower protocol; of equals the youngest wins, here the first by name."""
    spec = runtime["spec"]
    wanted = model["modelFormat"]["name"]
    formats = [one for one in spec.get("supportedModelFormats") or [] if one["name"] == wanted]
    priority = formats[0].get("priority") if formats else None
    protocols = [_PROTOCOLS.get(one, _UNKNOWN) for one in spec.get("protocolVersions") or []]
    return (priority is None, -(priority or 0), min(protocols, default=_UNKNOWN), runtime["metadata"]["name"])
