"""`kubectl_complete-multinode`: completes `kubectl multinode …`.

kubectl 1.26 and newer runs this program with the words after the plugin's name, the unfinished one last. It
expects one completion per line, a description after a tab, and a last line `:N` with the sum of these
directives.
"""

import sys
from enum import IntFlag

import click
from click.shell_completion import CompletionItem, ShellComplete

from vllm_multinode.cli.app import application
from vllm_multinode.cli.declare import COMPLETE


class Directive(IntFlag):
    """What the shell does with the completions; the numbers are those of cobra, kubectl's library."""

    FILES = 0
    """Complete files where nothing is offered."""
    NO_FILES = 4
    FOLDERS = 16
    """Complete folders only."""
    KEEP_ORDER = 32


_OF_TYPE = {"file": Directive.FILES, "dir": Directive.FOLDERS}


class KubectlComplete(ShellComplete):
    """Click's completion in kubectl's format."""

    name = "kubectl"
    source_template = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The finished words, and the unfinished one."""
        words = sys.argv[1:] or [""]
        return words[:-1], words[-1]

    def format_completion(self, item: CompletionItem) -> str:
        """A value and, if it has one, its description on the same line."""
        return f"{item.value}\t{' '.join(item.help.split())}" if item.help else str(item.value)

    def complete(self) -> str:
        """The lines for kubectl, the directive last."""
        try:
            items = self.get_completions(*self.get_completion_args())
        except click.ClickException:
            items = []  # The command itself reports the mistake.
        directive = next((_OF_TYPE[item.type] for item in items if item.type in _OF_TYPE), None)
        if directive is None:
            directive = Directive.NO_FILES | Directive.KEEP_ORDER
        lines = [self.format_completion(item) for item in items if item.type not in _OF_TYPE]
        return "\n".join([*lines, f":{directive.value}"])


def main() -> None:
    """Entry point of `kubectl_complete-multinode`."""
    click.echo(KubectlComplete(application(), {}, "multinode", COMPLETE).complete())
