"""`multinode`: what runs in the image starts at once; everything else is a typer application."""

import sys
from typing import Final, NoReturn

from vllm_multinode.cli.output import guarded
from vllm_multinode.contract.exit_codes import ExitCode

_CLI: Final = ("typer", "rich", "click")
_WITHOUT_CLI: Final = (
    "typer and rich are not installed; the extra vllm-multinode[cli] has them. "
    "Without it head, worker, fetch and live run."
)


def main() -> NoReturn:
    """Entry point of `multinode` and `kubectl multinode`."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("head", "worker"):
        # Neither typer nor rich is loaded, nor has to be installed: every argument behind the role is vLLM's.
        from vllm_multinode.launcher.main import main as launch

        sys.exit(launch("head" if arguments[0] == "head" else "worker", tuple(arguments[1:])))
    if arguments and arguments[0] == "fetch":
        from vllm_multinode.cli.fetch import main as fetch

        sys.exit(guarded(lambda: fetch(tuple(arguments[1:]))))
    if arguments == ["live"]:
        from vllm_multinode.launcher.live import main as live

        sys.exit(live())
    try:
        from vllm_multinode.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in _CLI:
            raise
        sys.stderr.write(f"multinode: {' '.join(arguments[:1])}: {_WITHOUT_CLI}\n")
        sys.exit(ExitCode.USAGE)

    sys.exit(guarded(lambda: run(arguments)))
