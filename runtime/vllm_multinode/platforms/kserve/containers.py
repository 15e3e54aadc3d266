"""One container out of two: the ServingRuntime's with the InferenceService's laid over it.

Source: pkg/controller/v1beta1/inferenceservice/utils/utils.go and, from v0.20, pkg/utils/container_merge.go.
"""

import html
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from vllm_multinode.k8s.merge import strategic_merge
from vllm_multinode.platforms import names
from vllm_multinode.platforms.releases import Release
from vllm_multinode.platforms.simulation import Body

_TAG: Final = re.compile(r":([\w.\-]*)$", re.ASCII)
_PLACEHOLDER: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_FIELD: Final = re.compile(r"-?\s*\.(Name|Namespace|Generation|Labels\.(\w+)|Annotations\.(\w+))\s*-?")
_GPU_SUFFIX: Final = {
    "kserve-tensorflow-serving": "tensorflow-serving",
    "kserve-torchserve": "torchserve",
    "kserve-huggingfaceserver": "huggingfaceserver",
}
_VLLM_SERVER: Final = "kserve-vllmserver"


class PlaceholderError(ValueError):
    """A `{{…}}` that Go's template does not take."""


def merged(runtime: Mapping[str, Any], over: Mapping[str, Any], release: Release) -> Body:
    """`over` laid over the runtime's container; its args come behind the runtime's.

    Raises:
        ValueError: an item of a merged list lacks its key.
    """
    patch = {key: value for key, value in over.items() if key not in ("name", "args")}
    result = strategic_merge(runtime, patch)
    result["name"] = over.get("name") or runtime["name"]
    args = [*(runtime.get("args") or []), *(over.get("args") or [])]
    if args:
        result["args"] = args
    if release.keeps_one_source and result.get("env"):
        result["env"] = _without_both(result["env"], over.get("env") or [])
    return result


def _without_both(variables: list[Body], over: list[Body]) -> list[Body]:
    """From v0.20: of a variable with value and valueFrom, what the InferenceService wrote stays."""
    written = {one["name"]: one for one in over}
    kept = []
    for one in variables:
        mine = written.get(one["name"], {})
        if one.get("value") and one.get("valueFrom") and ("value" in mine or "valueFrom" in mine):
            dropped = "value" if "valueFrom" in mine else "valueFrom"
            one = {key: value for key, value in one.items() if key != dropped}
        kept.append(one)
    return kept


def replaced(container: Mapping[str, Any], metadata: Mapping[str, Any], generation: int) -> Body:
    """The container with `{{.Name}}`, `{{.Namespace}}`, `{{.Labels.x}}` and `{{.Annotations.x}}` filled in.

    Raises:
        PlaceholderError: a placeholder of another form; KServe fails on it and makes nothing.
    """

    def value(match: re.Match[str]) -> str:
        found = _FIELD.fullmatch(match[1])
        if found is None:
            raise PlaceholderError(match[0])
        if found[2] or found[3]:
            source = metadata.get("labels" if found[2] else "annotations") or {}
            return html.escape(str(source.get(found[2] or found[3], "")))
        if found[1] == "Generation":
            return str(generation)
        return str(metadata.get(found[1].lower(), ""))

    def walk(item: Any) -> Any:
        if isinstance(item, str):
            filled = _PLACEHOLDER.sub(value, item) if "{{" in item else item
            if "{{" in filled:
                raise PlaceholderError(item)
            return filled
        if isinstance(item, Mapping):
            return {key: walk(inner) for key, inner in item.items()}
        return [walk(inner) for inner in item] if isinstance(item, list) else item

    result: Body = walk(container)
    return result


def placeholders(container: Mapping[str, Any]) -> list[str]:
    """Placeholders of a container that KServe does not fill in."""
    return list(dict.fromkeys(match[0] for match in _PLACEHOLDER.finditer(json.dumps(container))))


def with_tag(container: Body, model: Mapping[str, Any], runtime: Mapping[str, Any], release: Release) -> Body:
    """The container with the image that KServe makes of `runtimeVersion` or of the kind of server."""
    image = container.get("image", "")
    if release.keeps_digests and "@sha256:" in image:
        return container
    wanted = model.get("runtimeVersion")
    if wanted is not None:
        if _TAG.search(image) is None:
            return {**container, "image": f"{image}:{wanted}"}
        return {**container, "image": _TAG.sub(lambda _: f":{wanted}", image)}
    return {**container, "image": _of_server(image, container, runtime, release)} if image else container


def _of_server(image: str, container: Mapping[str, Any], runtime: Mapping[str, Any], release: Release) -> str:
    tag = _TAG.search(image)
    name = runtime["metadata"]["name"]
    if tag is None:
        return image
    limits = (container.get("resources") or {}).get("limits") or {}
    has_gpu = names.NVIDIA in limits or any(one.startswith("nvidia.com/mig-") for one in limits)
    annotated = (runtime["metadata"].get("annotations") or {}).get(names.SERVER_TYPE, "")
    named = _GPU_SUFFIX.get(name, "vllmserver" if name == _VLLM_SERVER else "")
    server = (annotated or named) if release.reads_server_type else _GPU_SUFFIX.get(name, "")
    if has_gpu:
        return f"{image}-gpu" if server in _GPU_SUFFIX.values() and not image.endswith("-gpu") else image
    base = image[: tag.start()]
    if release.reads_server_type and server == "vllmserver" and not base.endswith("-cpu"):
        return f"{base}-cpu{tag[0]}"
    return image


def with_variable(container: Body, name: str, value: str) -> Body:
    """The container with a variable set; one that is there keeps its place, and its valueFrom."""
    variables = [dict(one) for one in container.get("env") or []]
    for one in variables:
        if one["name"] == name:
            one["value"] = value
            break
    else:
        variables.append({"name": name, "value": value})
    return {**container, "env": variables}
