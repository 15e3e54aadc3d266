"""The JSON Schema of a deployment spec, so that an editor completes and checks it."""

from typing import Any

from vllm_multinode.authoring.spec.deployment import DeploymentSpec


def json_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, with a file's names (camelCase)."""
    schema = DeploymentSpec.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
