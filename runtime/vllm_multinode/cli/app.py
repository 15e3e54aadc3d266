"""The command line as click has it: only the command that is asked for is imported."""

import importlib
import shutil
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from vllm_multinode.cli import declare
from vllm_multinode.cli.help_text import Texts
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_NARROWEST: Final = 20
_NARROWEST_OF_CLICK: Final = 50

GOALS: Final = {
    "Size and write": {
        "plan": "Work out how many nodes a model needs, and which TP and PP.",
        "models": "List the models of the catalogue: size, context and the smallest deployments.",
        "gpus": "List the GPUs of the catalogue: memory, label of their nodes, and node shapes.",
        "render": "Write ServingRuntime, InferenceService, claim and kustomization of a deployment spec.",
        "schema": "Print the JSON Schema of a deployment spec.",
        "convert": "Convert what you run on KAITO, OCI AI Blueprints, AI-on-EKS, KServe or Ray Serve.",
    },
    "Check without a cluster": {
        "preview": "Show what KServe will create; exit code 4 if it would reject it or never serve.",
        "validate": "Find what will be rejected and what will never serve; exit code 4 if anything is found.",
    },
    "Deploy to a cluster": {
        "up": "From a model's name to a service that answers: plan, render, check, deploy and wait.",
        "deploy": "Check, apply and wait for a service; running it again changes nothing.",
        "wait": "Show each pod's state until the service is ready; exit code 75 if it will not serve.",
        "delete": "Delete a deployment; list and keep what others own or still use.",
    },
    "See what runs": {
        "status": "Show the state of services: reason, nodes, requests, recoveries and how to reach them.",
        "doctor": "Explain why a service does not serve or serves badly, with evidence and a remedy.",
        "logs": "Print the logs of all nodes in time order, with rank and source (engine or supervisor).",
        "top": "Show tokens and requests per second, the KV cache and the nodes' heartbeats, live.",
        "dashboard": "Serve a dashboard until Ctrl-C: the group, incidents, throughput and latency.",
        "bench": "Measure latency under load with `vllm bench serve`, and find what limits the service.",
        "record": "Send one request to a service, and record everything needed to reproduce the answer.",
        "report": "Collect status, diagnosis, logs and objects in one archive; secrets are hidden.",
    },
    "On this machine": {
        "local": "Run the same pods as processes on this machine.",
        "completion": "Print the shell code that completes commands, options and names.",
    },
}
"""Goal -> command -> its line in the help. Each is a function, or a Group `app`, in cli.<command>."""
COMMANDS: Final = {name: line for commands in GOALS.values() for name, line in commands.items()}
IN_IMAGE: Final = {
    "head": "Run the head pod's supervisor; all further arguments are vLLM's.",
    "worker": "Run a worker pod's supervisor; all further arguments are vLLM's.",
    "fetch": "Fill a claim with a model from a hub, S3, an image or another claim.",
    "live": "Ask this pod's supervisor whether it is alive; exit code 1 if it is not.",
}
"""cli.main starts these before this module is loaded; they stand here for help and completion."""
_IN_A_POD: Final = "In a pod"
_EXAMPLES: Final = (
    "multinode plan llama-3.1-405b-instruct --gpu H100-SXM --gpus-per-node 8",
    "multinode validate -f llama/ --platform openshift-ai-2.25",
)


class Root(declare.Group):
    """`multinode`: commands by what one wants, each loaded when it is asked for."""

    def list_commands(self, _: click.Context) -> list[str]:
        """All, in the help's order."""
        return [*COMMANDS, *IN_IMAGE]

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        """A command in full."""
        if name in IN_IMAGE:
            return _in_image(name)
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"vllm_multinode.cli.{name}")
        app = getattr(module, "app", None)
        if isinstance(app, declare.Group):
            app.name = name
            return app
        return declare.command(getattr(module, name), name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; where it was asked for JSON, its error is JSON too."""
        try:
            return super().invoke(ctx)
        except (MultinodeError, click.ClickException) as error:
            if not ctx.meta.get(declare.JSON):
                raise
            from vllm_multinode.cli.answer import refusal_as_json

            code, line = refusal_as_json(error)
            click.echo(line, err=True)
            return code

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Each below its goal, without loading any."""
        width = max(map(len, (*COMMANDS, *IN_IMAGE)))
        for goal, commands in {**GOALS, _IN_A_POD: IN_IMAGE}.items():
            with formatter.section(goal):
                formatter.write_dl([(name.ljust(width), line) for name, line in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """The commands with their lines, without loading any; then the options."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=line)
            for name, line in {**COMMANDS, **IN_IMAGE}.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


def application() -> Root:
    """The root of all commands."""
    return Root(
        name="multinode",
        help="One vLLM engine over several nodes.",
        texts=Texts("", _EXAMPLES),
        invoke_without_command=True,
        callback=_alone,
        params=[
            click.Option(
                ["--version"], is_flag=True, expose_value=False, is_eager=True, show_default=False,
                callback=_version, help="Print the version and exit.",
            ),
            declare.quiet_option(),
        ],
        context_settings=declare.SETTINGS,
    )  # fmt: skip


def _alone() -> None:
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    import importlib.metadata  # slow, and seldom asked for

    click.echo(importlib.metadata.version("vllm-multinode"))
    context.exit()


def _in_image(name: str) -> click.Command:
    """What stands for a command that is not run from here: its name, line and options."""
    params: list[click.Parameter] = []
    if name == "fetch":
        from vllm_multinode.cli.fetch import parser

        params = [
            click.Option([*action.option_strings], is_flag=action.nargs == 0, help=action.help)
            for action in parser()._actions  # noqa: SLF001 - argparse has no other way to list them
            if action.option_strings and action.dest != "help"
        ]
        params.append(click.Argument(["source"]))
        params.append(click.Argument(["directory"], type=click.Path()))
    return click.Command(name, params=params, help=IN_IMAGE[name], context_settings=declare.SETTINGS)


def run(arguments: list[str]) -> int:
    """Run a command line; a mistake of input is one line on stderr and its exit code."""
    try:
        result = application().main(
            arguments,
            prog_name="multinode",
            complete_var=declare.COMPLETE,
            standalone_mode=False,
            terminal_width=_help_width(),
        )
    except MultinodeError as error:
        _tell(f"multinode: {error}")
        return error.code
    except click.Abort:
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "multinode"
        _tell(f"multinode: {error.format_message()} See `{path} --help`.")
        return ExitCode.USAGE
    return result if isinstance(result, int) else ExitCode.OK


def _tell(line: str) -> None:
    from vllm_multinode.cli.aside import fitted

    sys.stderr.write(f"{fitted(line, sys.stderr)}\n")


def _help_width() -> int | None:
    """Columns of a help text on a terminal narrower than click's minimum; None for click's own choice."""
    columns = shutil.get_terminal_size().columns
    return max(_NARROWEST, columns - 2) if columns - 2 < _NARROWEST_OF_CLICK else None
