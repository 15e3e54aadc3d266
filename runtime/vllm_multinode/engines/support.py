"""Which versions of vLLM and Ray the launcher takes."""

from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import EXECUTORS, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.versions import Version, dotted, parse
from vllm_multinode.engines.vllm import NEWEST, VLLM

RAY_TOKEN: Final = (2, 52)
"""Ray's first version with token authentication; earlier ones ignore the token without a word."""


def check_engine(vllm_version: str, ray_version: str | None, executor: ExecutorName, *, token: bool) -> None:
    """Refuse versions that the launcher does not know.

    Args:
        vllm_version: as installed; a build without a release's number is taken for the newest.
        ray_version: as installed, None where Ray is not.
        executor: ray or mp.
        token: the group has a token, which Ray's processes are to ask for.

    Raises:
        MultinodeError: ENGINE_VERSION, with the version and the range.
    """
    numbers = parse(vllm_version)
    if numbers is not None:
        _check_vllm(vllm_version, numbers, executor)
    ray_numbers = parse(ray_version) if ray_version else None
    if EXECUTORS[executor].needs_ray and token and ray_numbers is not None and ray_numbers < RAY_TOKEN:
        raise MultinodeError(
            ExitCode.ENGINE_VERSION,
            f"Ray {ray_version} knows no token authentication and would ignore the group's token.",
            where="ray",
            hint=f"Use an image with Ray {dotted(RAY_TOKEN)} or newer, or MULTINODE_EXECUTOR=mp.",
        )


def _check_vllm(version: str, numbers: Version, executor: ExecutorName) -> None:
    first = oldest(executor)
    if numbers[:2] > NEWEST:
        what = f"vLLM {version} is newer than the newest version that this launcher knows, {dotted(NEWEST)}."
        hint = "Use a newer vllm-multinode, or an image with an older vLLM."
    elif numbers < first:
        what = f"vLLM {version} is too old for the {executor} executor over several nodes."
        hint = f"Use an image with vLLM {dotted(first)} or newer"
        hint += "." if numbers < oldest("ray") else ", or MULTINODE_EXECUTOR=ray."
    else:
        return
    raise MultinodeError(ExitCode.ENGINE_VERSION, what, where="vllm", hint=hint)


def oldest(executor: ExecutorName) -> Version:
    """Return the first version of vLLM that an executor is supported with."""
    return next(entry.since for entry in VLLM if EXECUTORS[executor].needs_ray or entry.multi_node_mp)


def can_run(version: str, executor: ExecutorName) -> bool:
    """Tell whether a version of vLLM has an executor over several nodes; no number means the newest."""
    numbers = parse(version)
    return numbers is None or numbers >= oldest(executor)
