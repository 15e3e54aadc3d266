"""`multinode completion`: what a shell needs to complete this command line."""

from typing import Annotated, Final, Literal

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from vllm_multinode.cli.declare import COMPLETE, Argument

Shell = Literal["bash", "zsh", "fish"]
_SHELLS: Final[dict[Shell, type[ShellComplete]]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}


def completion(shell: Annotated[Shell, Argument(help="Shell to complete for.")]) -> None:
    """Print the shell code that completes commands, options and names.

    In bash and zsh, source its output in ~/.bashrc, or in ~/.zshrc after compinit.

    multinode completion bash > ~/.local/share/bash-completion/completions/multinode

    multinode completion fish > ~/.config/fish/completions/multinode.fish
    """
    root = click.get_current_context().find_root().command
    click.echo(_SHELLS[shell](root, {}, "multinode", COMPLETE).source())
