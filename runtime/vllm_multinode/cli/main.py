"""`multinode`: what runs in the image starts at once; everything else is in cli.app."""

import sys
from typing import Final, NoReturn

from vllm_multinode.cli.output import guarded
from vllm_multinode.contract.exit_codes import ExitCode

# Module -> the extra that brings it, for what the base install leaves out.
_EXTRAS: Final = {"boto3": "[s3]", "kubernetes": "[cluster]", "openshift_client": "[openshift]"}
_BASE: Final = ("aiohttp", "click", "prometheus_client", "pydantic", "requests", "rich", "urllib3", "yaml")
"""What the install itself brings; an image of vLLM may lack some."""

_HELP: Final = """Usage: multinode {role} [ARGUMENTS OF VLLM]...

  Run the supervisor of a {role} pod: join the group, start vLLM, watch it, and heal in place.

  The environment configures it, as KServe or LeaderWorkerSet and the manifests set it.
  All arguments are vLLM's.

Examples:
  multinode {role}
  multinode {role} --max-model-len 32768
"""


def main() -> NoReturn:
    """Entry point of `multinode` and `kubectl multinode`."""
    arguments = sys.argv[1:]
    try:
        code = _run(arguments)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in (*_EXTRAS, *_BASE):
            raise
        extra = _EXTRAS.get(package, "")
        command = f"multinode {arguments[0]}" if arguments else "multinode"
        sys.stderr.write(
            f"{command}: {error.name} is not installed; pip install 'vllm-multinode{extra}' brings it.\n"
        )
        sys.exit(ExitCode.USAGE)
    sys.exit(code)


def _print_help(role: str) -> int:
    sys.stdout.write(_HELP.format(role=role))
    return ExitCode.OK


def _run(arguments: list[str]) -> int:
    command, others = next(iter(arguments), ""), tuple(arguments[1:])
    if command in ("head", "worker"):
        if others[:1] in (("--help",), ("-h",)):
            return guarded(lambda: _print_help(command))
        # Neither click nor rich is loaded, nor has to be installed: every argument behind the role is vLLM's.
        from vllm_multinode.launcher.main import main as launch

        return launch("head" if command == "head" else "worker", others)
    if command == "fetch":
        from vllm_multinode.cli.fetch import main as fetch

        return guarded(lambda: fetch(others))
    if arguments == ["live"]:
        from vllm_multinode.launcher.live import main as live

        return live()
    from vllm_multinode.cli.app import run

    return guarded(lambda: run(arguments))
