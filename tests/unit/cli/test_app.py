"""The help names what each command says of itself, without importing it."""

import importlib

import pytest

from vllm_multinode.cli.app import COMMANDS, application, run


@pytest.mark.parametrize("name", COMMANDS)
def test_line_in_the_help_is_the_commands_own(name: str) -> None:
    module = importlib.import_module(f"vllm_multinode.cli.{name}")
    described = getattr(module, name).__doc__ if hasattr(module, name) else module.app.info.help
    # `local` is a group and says nothing itself.
    assert name == "local" or " ".join(described.split("\n\n")[0].split()) == COMMANDS[name]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*COMMANDS, "head", "worker", "fetch"))


def test_one_command_is_loaded_at_a_time() -> None:
    loaded = [one.callback.__name__ for one in application("schema").registered_commands if one.callback]
    assert loaded.count("schema") == 1
    assert loaded.count("render") == 0
