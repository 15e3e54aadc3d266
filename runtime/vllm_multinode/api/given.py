"""What a Python program hands over: a spec, what was rendered, files, or plain objects."""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

from vllm_multinode.authoring import inputs
from vllm_multinode.authoring.inputs import Inputs
from vllm_multinode.authoring.render import Rendered
from vllm_multinode.authoring.spec import DeploymentSpec
from vllm_multinode.k8s.documents import Document
from vllm_multinode.k8s.emit import to_yaml

Given = DeploymentSpec | Rendered | str | PathLike[str] | Sequence[Mapping[str, Any]]
"""A spec; what `render` returned; a file or folder of manifests or specs; or Kubernetes objects."""


def inputs_of(given: Given) -> Inputs:
    """The same as the command line reads it.

    Raises:
        MultinodeError: MANIFEST, KUSTOMIZE or USAGE for files that cannot be read.
    """
    if isinstance(given, DeploymentSpec):
        body = given.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        return inputs.read_text(to_yaml([body]), f"the spec {given.name}")
    if isinstance(given, str | PathLike):
        return inputs.read([fspath(given)])
    bodies = given.documents if isinstance(given, Rendered) else given
    return Inputs(tuple(Document("-", place, dict(body)) for place, body in enumerate(bodies)))
