"""Asks vLLM's own parser; `launcher.commands.parser` runs this source with `python -c`.

It takes the arguments of `vllm serve`, prints one JSON object and imports vLLM, which no other module of the
launcher may do. Nothing is started: the subcommand ends where the server would begin.

    {"refused": words or null, "options": {name: takes a value}, "config": words or null}

`config` is what vLLM says of a model whose configuration is code that it was not told to trust.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn


class _Refused(Exception):  # noqa: N818 - an answer, not an error
    """vLLM's parser ends here; says why."""


def _refuse(_parser: object, message: str) -> NoReturn:
    raise _Refused(message)


def ask(arguments: list[str]) -> dict[str, Any]:
    """Parse the arguments of `vllm serve` as the command does, with its own classes."""
    serve = importlib.import_module("vllm.entrypoints.cli.serve")
    parser = serve.FlexibleArgumentParser(prog="vllm")
    command = serve.ServeSubcommand()
    # argparse makes the subcommand's parser of the same class.
    type(parser).error = _refuse
    known = command.subparser_init(parser.add_subparsers(dest="subparser"))
    options = {
        name: action.nargs != 0
        for action in known._actions  # noqa: SLF001 - argparse has no public list
        for name in action.option_strings
    }
    answer: dict[str, Any] = {"refused": None, "options": options, "config": None}
    try:
        parsed = parser.parse_args(["serve", *arguments])
        command.validate(parsed)
    except (_Refused, ValueError, TypeError, KeyError, OSError, SystemExit) as refusal:
        return answer | {"refused": str(refusal) or type(refusal).__name__}
    return answer | {"config": _untrusted(parsed)}


def _untrusted(parsed: Any) -> str | None:
    """Read the model's configuration as vLLM will, where it names code that vLLM may not run."""
    model = getattr(parsed, "model_tag", None) or parsed.model
    try:
        named = json.loads(Path(model, "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if parsed.trust_remote_code or not isinstance(named, dict) or "auto_map" not in named:
        return None
    get_config = importlib.import_module("vllm.transformers_utils.config").get_config
    try:
        get_config(model, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 - whatever vLLM and transformers raise
        words = str(error)
        return words if "trust" in words and "remote" in words else None
    return None


def main() -> None:
    """Answer on standard output, where nothing else is written."""
    answer = os.dup(1)
    os.dup2(2, 1)
    os.write(answer, json.dumps(ask(sys.argv[1:])).encode())
    # Not through the interpreter's end: threads and devices that an import has opened may hold it up.
    os._exit(0)


if __name__ == "__main__":
    main()
