"""docs/spec.md: every field of a deployment spec, from its JSON Schema."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from vllm_multinode.authoring.spec.schema import json_schema

Schema = Mapping[str, Any]

_HEAD: Final = """# The deployment spec

One YAML or JSON document describes the service; `multinode render` writes the manifests, and
`multinode deploy` applies it. `multinode schema` prints the JSON Schema that this page is generated from
(scripts/generate spec): `multinode schema > spec.schema.json`, and an editor completes the fields with
`# yaml-language-server: $schema=spec.schema.json` in the first line. Unknown fields are rejected.

```yaml
name: llama-70b
model: {claim: models, path: Llama-3.3-70B-Instruct, size: 131Gi}
parallelism: {tensor: 4, pipeline: 2}
accelerator: {type: nvidia, product: NVIDIA-H100-80GB-HBM3}
context: 32768
```
"""
_WORDS: Final = {"integer": "number", "number": "number", "string": "text", "boolean": "true, false"}


def reference() -> str:
    """The page, in Markdown."""
    schema = json_schema()
    parts: Schema = schema["$defs"]
    lines = [_HEAD]
    for path, part in _sections(schema, parts):
        title = path or "The spec"
        lines += [
            f"## {title}",
            "",
            part["description"],
            "",
            "| field | value | default | meaning |",
            "|---|---|---|---|",
        ]
        required = part.get("required", ())
        for name, field in part["properties"].items():
            default = "required" if name in required else _default(field)
            meaning = field.get("description") or _part(field, parts)["description"]
            lines.append(f"| `{name}` | {_kind(field, parts)} | {default} | {_cell(meaning)} |")
        lines.append("")
    return "\n".join(lines)


def _sections(schema: Schema, parts: Schema) -> Iterator[tuple[str, Schema]]:
    """Every mapping of the spec under its path, each once, the outer ones first."""
    waiting: list[tuple[str, Schema]] = [("", schema)]
    seen: set[str] = set()
    while waiting:
        path, part = waiting.pop(0)
        if part["title"] in seen:
            continue
        seen.add(part["title"])
        yield path, part
        for name, field in part["properties"].items():
            for reference_ in _references(field):
                inner = parts[reference_]
                if "properties" in inner:
                    waiting.append((f"{path}.{name}" if path else name, inner))


def _references(field: Schema) -> Iterator[str]:
    """The parts that a field holds, alone, in a choice, in a list or in a mapping."""
    if "$ref" in field:
        yield field["$ref"].rpartition("/")[2]
    for key in ("anyOf", "oneOf", "allOf"):
        for one in field.get(key, ()):
            yield from _references(one)
    for key in ("items", "additionalProperties"):
        if isinstance(field.get(key), Mapping):
            yield from _references(field[key])


def _part(field: Schema, parts: Schema) -> Schema:
    found: Schema = parts[next(_references(field))]
    return found


def _kind(field: Schema, parts: Schema) -> str:
    """What may stand there, in words."""
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{one}`" for one in field["enum"])
    if "$ref" in field:
        inner = _part(field, parts)
        return "mapping" if "properties" in inner else _kind(inner, parts)
    if "anyOf" in field:
        kinds = (_kind(one, parts) for one in field["anyOf"] if one.get("type") != "null")
        return " or ".join(dict.fromkeys(kinds))
    if field.get("type") == "array":
        return "list" if "prefixItems" in field else f"list of {_kind(field.get('items', {}), parts)}"
    if field.get("type") == "object":
        return "mapping"
    return _WORDS.get(field.get("type", ""), "any")


def _default(field: Schema) -> str:
    default = field.get("default")
    if default in (None, [], {}, ""):
        return ""
    if isinstance(default, list):
        return ", ".join(f"`{one}`" for one in default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
