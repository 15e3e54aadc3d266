"""The kustomize components of the accelerators: one shape, and what differs between the makers."""

from dataclasses import dataclass
from typing import Final

from generators.repository import MANIFESTS, Files
from vllm_multinode.authoring.spec.accelerators import RESOURCES, AcceleratorType

_IMAGE: Final = "docker.io/vllm/vllm-openai"
_HEADER: Final = "# Written by scripts/generate.\n"
_ONE: Final = """\
# A service runs on one kind of accelerator. What the test is called stands in kustomize's error.
- {op: copy, from: /metadata/annotations, path: "/this service has an accelerator already"}
- {op: test, path: "/this service has an accelerator already/vllm-multinode~1accelerator", value: null}
- {op: remove, path: "/this service has an accelerator already"}
"""
_ONE_LIST: Final = """\
# The list of resources that KServe shall take has one writer.
- {op: copy, from: /metadata/annotations, path: "/another component lists resources already"}
- {op: test, path: "/another component lists resources already/serving.kserve.io~1gpu-resource-types", value: null}
- {op: remove, path: "/another component lists resources already"}
"""
_REQUESTS: Final = "# Under requests as well: KServe counts nodes by requests, and overwrites values that are only under limits."


@dataclass(frozen=True)
class Maker:
    """What differs.

    Attributes:
        kind: as a deployment spec has it.
        folder: of the component.
        value: of MULTINODE_ACCELERATOR.
        about: what stands above the component, in lines.
        image: lines of kustomize's image that replaces vLLM's for CUDA; none where that is the one.
        count: accelerators of a pod, which is TP as well; 1 leaves TP out.
        annotations: lines of the InferenceService's.
        taints: of the maker's nodes; the resource's name where nothing is said.
    """

    kind: AcceleratorType
    folder: str
    value: str
    about: tuple[str, ...]
    image: tuple[str, ...] = ()
    count: int = 8
    annotations: tuple[str, ...] = ()
    taints: tuple[str, ...] | None = None


def _eight(name: str) -> str:
    return f"{name}: eight to a node, TP over them. A leaf for other nodes patches the four counts and TP."


MAKERS: Final = (
    Maker("nvidia", "nvidia", "cuda", (_eight("NVIDIA GPUs"),)),
    Maker("amd", "amd", "rocm", (_eight("AMD GPUs"),), (f"newName: {_IMAGE}-rocm",)),
    Maker(
        "intel",
        "intel",
        "xpu",
        (
            _eight("Intel GPUs"),
            "The resource carries the driver's name: gpu.intel.com/xe where nodes run the newer one. "
            "KServe knows neither: before",
            "0.18, and over manifests/service/ray, it makes one-GPU pods of them, unless its ConfigMap "
            "inferenceservice-config lists",
            "the resource under multiNode.customGPUResourceTypeList.",
        ),
        (f"newName: {_IMAGE}-xpu",),
        annotations=('serving.kserve.io/gpu-resource-types: \'["gpu.intel.com/i915", "gpu.intel.com/xe"]\'',),
        taints=("gpu.intel.com/i915", "gpu.intel.com/xe"),
    ),
    Maker(
        "gaudi",
        "gaudi",
        "gaudi",
        (_eight("Intel Gaudi"),),
        (
            "newName: vault.habana.ai/gaudi-docker/1.24.0/ubuntu24.04/habanalabs/vllm-0.19.0-ptfork-2.10.0",
            "newTag: 1.24.0-1007",
        ),
    ),
    Maker(
        "none",
        "cpu",
        "cpu",
        (
            "No accelerator: vLLM's CPU engine, one rank to a pod. KServe counts accelerators all the same "
            "and writes the count",
            "over the first resource that it is told of: one CPU.",
        ),
        (f"newName: {_IMAGE}-cpu",),
        count=1,
        taints=(),
        annotations=("serving.kserve.io/gpu-resource-types: '[\"cpu\"]'",),
    ),
)


def files() -> Files:
    """The three files of each component."""
    written: Files = {}
    for maker in MAKERS:
        folder = MANIFESTS / "components" / maker.folder
        written[folder / "kustomization.yaml"] = _HEADER + _kustomization(maker)
        written[folder / "inferenceservice.yaml"] = _HEADER + _service(maker)
        written[folder / "one-accelerator.yaml"] = _HEADER + _ONE + (_ONE_LIST if maker.annotations else "")
    return written


def _kustomization(maker: Maker) -> str:
    lines = [f"# {line}" for line in maker.about]
    lines += ["apiVersion: kustomize.config.k8s.io/v1alpha1", "kind: Component"]
    lines += ["components:", "  - ../one-service"]
    if maker.image:
        lines += ["images:", f"  - name: {_IMAGE}", *(f"    {line}" for line in maker.image)]
    lines += ["patches:", "  - path: one-accelerator.yaml", "    target: {kind: InferenceService}"]
    return (
        "\n".join([*lines, "  - path: inferenceservice.yaml", "    target: {kind: InferenceService}"]) + "\n"
    )


def _service(maker: Maker) -> str:
    lines = ["apiVersion: serving.kserve.io/v1beta1", "kind: InferenceService", "metadata:", "  name: vllm"]
    lines += ["  annotations:", f"    vllm-multinode/accelerator: {maker.value}"]
    lines += [f"    {line}" for line in maker.annotations]
    lines += [
        "spec:",
        "  predictor:",
        *_indented(4, _tolerations(maker)),
        "    model:",
        *_indented(6, _variable(maker)),
        f"      {_REQUESTS}",
    ]
    lines += [*_indented(6, _resources(maker)), "    workerSpec:"]
    if maker.count > 1:
        lines.append(f"      tensorParallelSize: {maker.count}")
    lines += [*_indented(6, _tolerations(maker)), "      containers:", "        - name: worker-container"]
    return "\n".join([*lines, *_indented(10, [*_variable(maker), *_resources(maker)])]) + "\n"


def _variable(maker: Maker) -> list[str]:
    return ["env:", "  - name: MULTINODE_ACCELERATOR", f"    value: {maker.value}"]


def _tolerations(maker: Maker) -> list[str]:
    taints = (RESOURCES[maker.kind],) if maker.taints is None else maker.taints
    lines = [f"  - {{key: {taint}, operator: Exists, effect: NoSchedule}}" for taint in taints]
    return ["# Taints that such nodes usually carry.", "tolerations:", *lines] if lines else []


def _resources(maker: Maker) -> list[str]:
    amount = f'    {RESOURCES[maker.kind]}: "{maker.count}"'
    return ["resources:", "  requests:", amount, "  limits:", amount]


def _indented(columns: int, lines: list[str]) -> list[str]:
    return [" " * columns + line for line in lines]
