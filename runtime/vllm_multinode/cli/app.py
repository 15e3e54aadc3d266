"""The typer application: all but what runs in the image. Only the command that is asked for is imported."""

import importlib
import sys
from typing import Annotated, Final

import typer

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

COMMANDS: Final = {
    "plan": "Say how many nodes a model needs, and which TP and PP.",
    "models": "List the models of the catalogue: parameters, weights, context and the smallest deployments.",
    "gpus": "List the GPUs of the catalogue: memory, label of their nodes, and node shapes.",
    "render": "Write ServingRuntime, InferenceService, claim and kustomization of a deployment spec.",
    "schema": "Print the JSON Schema of a deployment spec.",
    "preview": "Print what KServe will create; exit code 4 where it would refuse it or never serve.",
    "validate": "Say what will be refused and what will never serve; exit code 4 where there is any.",
    "convert": "Bring what runs on KAITO, OCI AI Blueprints, AI-on-EKS, KServe or Ray Serve.",
    "up": "From a model's name to a service that answers: plan, render, check, deploy and wait.",
    "deploy": "Check, apply and wait for a service; a second time changes nothing.",
    "wait": "Show each pod's state until the service serves; exit code 75 and the reason where it will not.",
    "delete": "Delete a deployment; what others made or still need is kept, and said.",
    "status": "Show what services do: state, reason, nodes, weights, requests, recoveries and the way in.",
    "doctor": "Say why a service does not serve or serves badly, what shows it, and what to do.",
    "logs": "Print the logs of all nodes in order of time, with rank, engine and supervisor told apart.",
    "top": "Show tokens and requests per second, the KV cache and the nodes' heartbeats, live.",
    "dashboard": "Serve a page over services until Ctrl-C: the group, incidents, throughput and latency.",
    "record": "Run the smallest exercise with a service, and write down all that makes it reproducible.",
    "report": "Write status, diagnosis, logs and objects into one file to attach; secrets are hidden.",
    "local": "The same pods as processes on this machine.",
}
"""Command -> its line in the help. Each is a function, or a typer application `app`, in cli.<command>."""
IN_IMAGE: Final = {
    "head": "Run the head pod's supervisor; all further arguments are vLLM's.",
    "worker": "Run a worker pod's supervisor; all further arguments are vLLM's.",
    "fetch": "Fill a claim with a model from a hub, S3, an image or another claim.",
    "live": "Ask this pod's supervisor whether it lives; exit code 1 where it does not.",
}
"""cli.main starts these before this application is loaded; they stand here for the help."""


def application(asked: str = "") -> typer.Typer:
    """The application, with the command that is asked for in full and the others by their line alone."""
    app = typer.Typer(
        name="multinode",
        help="One vLLM engine over several nodes.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich's help takes twice as long as all the rest
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_version)
    for name, line in COMMANDS.items():
        if name != asked:
            app.command(name, help=line)(_elsewhere)
            continue
        module = importlib.import_module(f"vllm_multinode.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, help=line)
        else:
            app.command(name)(getattr(module, name))
    for name, line in IN_IMAGE.items():
        app.command(name, help=line)(_elsewhere)
    return app


def _elsewhere() -> None:
    """Stands for a command that is not run from here."""


def _version(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        import importlib.metadata  # slow, and seldom asked for

        typer.echo(importlib.metadata.version("vllm-multinode"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run(arguments: list[str]) -> int:
    """Run a command line; a mistake of input is one line on stderr and its exit code."""
    try:
        # The global options take no value, so the first other argument is the command.
        asked = next((argument for argument in arguments if not argument.startswith("-")), "")
        result = application(asked)(arguments, standalone_mode=False)
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
