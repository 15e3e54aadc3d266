"""`multinode`: the roles of the image start at once; everything else is a typer application."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Entry point of `multinode` and `kubectl multinode`."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("head", "worker"):
        # Neither typer nor rich is loaded, nor has to be installed: every argument behind the role is vLLM's.
        from vllm_multinode.launcher.main import main as launch

        sys.exit(launch("head" if arguments[0] == "head" else "worker", tuple(arguments[1:])))
    from vllm_multinode.cli.app import run

    sys.exit(run(arguments))
