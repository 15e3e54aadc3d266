"""The typer application: everything but the two roles of the image."""

import importlib.metadata
import sys
from typing import Annotated

import typer

from vllm_multinode.cli.plan import plan
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

app = typer.Typer(
    name="multinode",
    help="One vLLM engine over several nodes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("plan")(plan)

_PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True}


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(importlib.metadata.version("vllm-multinode"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


# cli.main starts both before this application is loaded; they stand here for the help.
@app.command(context_settings=_PASSED_ON)
def head() -> None:
    """Run the head pod's supervisor; all further arguments are vLLM's."""


@app.command(context_settings=_PASSED_ON)
def worker() -> None:
    """Run a worker pod's supervisor; all further arguments are vLLM's."""


def run(arguments: list[str]) -> int:
    """Run a command line; a mistake of input is one line on stderr and its exit code."""
    if arguments[:1] != ["plan"] and not app.registered_groups:
        # A plan answers at once: what it does not need is not imported.
        from vllm_multinode.cli.local import app as local

        app.add_typer(local, name="local")
    try:
        result = app(arguments, standalone_mode=False)
    except MultinodeError as error:
        sys.stderr.write(f"multinode: {error}\n")
        return error.code
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except Exception as error:
        usage = getattr(error, "format_message", None)
        if usage is None:
            raise
        sys.stderr.write(f"multinode: {usage()} See `multinode --help`.\n")
        return ExitCode.USAGE
    return result if isinstance(result, int) else ExitCode.OK
