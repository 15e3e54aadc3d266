"""vLLM's `--config FILE`, as the arguments that vLLM makes of it."""

import json
from pathlib import Path
from typing import Any

import yaml

from vllm_multinode.contract.bounded import read_bounded
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

_LARGEST = 1 << 18
_MOST_VALUES = 10_000


def config_arguments(path: str) -> list[str]:
    """Flatten a --config file to arguments as vLLM does.

    Raises:
        MultinodeError: ARGUMENTS, because it cannot be read.
    """
    arguments: list[str] = []
    for key, value in _config(path).items():
        if value is False:
            continue
        arguments.append(f"--{key}")
        if isinstance(value, dict):
            arguments.append(json.dumps(value, default=str))
        elif value is not True:
            arguments.extend(map(str, value if isinstance(value, list) else [value]))
    return arguments


def _config(path: str) -> dict[Any, Any]:
    """What a --config file holds."""
    if not path.endswith((".yaml", ".yml")):
        raise refused(f"--config {path}", "vLLM takes a file that ends in .yaml or .yml.", "Rename it.")
    try:
        content: Any = yaml.safe_load(read_bounded(Path(path), _LARGEST).decode())
    except OSError as error:
        what = f"the file cannot be read: {error.strerror or error}."
        raise refused(f"--config {path}", what, "Check the path and its permissions.") from error
    # YAML turns words like 2026-99-99 into dates and numbers, and a bad one is a ValueError.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        words = "it is nested too deep." if isinstance(error, RecursionError) else error
        raise refused(f"--config {path}", f"the file is not YAML: {words}", "Check the file.") from error
    if not _is_small(content):
        what = f"an anchor in the file holds itself, or it has more than {_MOST_VALUES} values."
        raise refused(f"--config {path}", what, "Check the file.")
    if not isinstance(content, dict):
        what = "the file is not a mapping of option names to values."
        raise refused(f"--config {path}", what, "Check the file.")
    return content


def _is_small(content: object) -> bool:
    """Tell whether it has a bounded number of values, those behind aliases counted wherever they stand."""
    left = [content]
    for _ in range(_MOST_VALUES):
        if not left:
            return True
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
        if len(left) > _MOST_VALUES:
            return False
    return not left


def refused(written: str, what: str, hint: str) -> MultinodeError:
    """An error about arguments as they were written."""
    return MultinodeError(ExitCode.ARGUMENTS, what, where=written, hint=hint)
