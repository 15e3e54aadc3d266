"""Labels of nodes, as an option names them."""

from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from vllm_multinode.authoring.spec.base import Labels
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode


def labels_of(selector: Sequence[str]) -> dict[str, str]:
    """Labels from "pool=a,zone=b".

    Raises:
        MultinodeError: USAGE, for what a pod's nodeSelector cannot say.
    """
    found: dict[str, str] = {}
    for part in (part.strip() for text in selector for part in text.split(",")):
        key, equals, value = part.partition("=")
        value = value.removeprefix("=")
        try:
            label = TypeAdapter(Labels).validate_python({key: value} if equals else {"": ""})
        except ValidationError as error:
            raise MultinodeError(
                ExitCode.USAGE,
                f"--selector {part!r} is not KEY=VALUE. It becomes the pods' nodeSelector, which takes "
                "nothing else.",
            ) from error
        if found.setdefault(key, label[key]) != value:
            raise MultinodeError(ExitCode.USAGE, f"--selector gives {key} two values.")
    return found
