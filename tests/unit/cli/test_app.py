"""The help names what each command says of itself, without importing it."""

import shlex
from collections.abc import Iterator

import click
import pytest

from vllm_multinode.cli.app import COMMANDS, IN_IMAGE, application, run
from vllm_multinode.cli.declare import Command, Group


def context() -> click.Context:
    return click.Context(application(), info_name="multinode")


@pytest.mark.parametrize("name", COMMANDS)
def test_line_in_the_help_is_the_commands_own(name: str) -> None:
    command = application().get_command(context(), name)
    assert command is not None
    assert (command.help or "").split("\n\n")[0] == COMMANDS[name]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*COMMANDS, "head", "worker", "fetch"))


def commands(
    group: click.Group | None = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Every command, by what is typed."""
    group = group or application()
    for name in group.list_commands(context()):
        one = group.get_command(context(), name)
        assert one is not None
        yield " ".join((*path, name)), one
        if isinstance(one, click.Group):
            yield from commands(one, (*path, name))


ALL = [pytest.param(one, id=path) for path, one in commands() if path not in IN_IMAGE]


@pytest.mark.parametrize("command", ALL)
def test_help_ends_with_two_examples_that_are_no_usage_errors(command: Command | Group) -> None:
    assert len(command.texts.examples) == 2
    shown = command.get_help(click.Context(command, info_name="x"))
    assert [line.strip() for line in shown.splitlines() if line.startswith("  multinode")][-2:]
    for example in command.texts.examples:
        words = shlex.split(example.partition(" > ")[0])[1:]
        root = application()
        with root.make_context("multinode", [*words]) as outer:
            current: click.Command = root
            rest = words
            while isinstance(current, click.Group) and rest:
                name, found, rest = current.resolve_command(outer, rest)
                assert found is not None, example
                assert name is not None
                current = found
            with current.make_context(current.name, [*rest], parent=outer):
                assert isinstance(command, click.Group) or current.name == command.name, example


@pytest.mark.parametrize("command", ALL)
@pytest.mark.parametrize("columns", [60, 80])
def test_no_line_of_the_help_is_cut_or_too_long(command: Command | Group, columns: int) -> None:
    shown = command.get_help(click.Context(command, info_name="multinode x", terminal_width=columns))
    assert max(map(len, shown.splitlines())) <= columns
    assert "..." not in shown.partition("Options:")[2]


def test_every_parameter_says_what_it_is() -> None:
    silent = [
        f"{path} {parameter.name}"
        for path, command in commands()
        for parameter in command.params
        if path not in IN_IMAGE and not getattr(parameter, "help", "")
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        pytest.param(["statis"], "'status'", id="a command that is not loaded"),
        pytest.param(["lokal"], "'local'", id="a group"),
        pytest.param(["local", "kil"], "'kill'", id="a command of a group"),
    ],
)
def test_a_mistyped_command_names_the_nearest(
    typed: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed) == 2
    assert f"No such command '{typed[-1]}'. Did you mean {meant}" in capsys.readouterr().err


def test_a_command_unlike_any_names_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["zzzzzz"]) == 2
    assert "Did you mean" not in capsys.readouterr().err
