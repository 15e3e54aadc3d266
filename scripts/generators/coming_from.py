"""docs/coming-from: what the commands on these pages print, run over the sources that the pages show.

A block ```yaml title="workspace.yaml" is a file of the reader's; each line behind `$ ` in a console block is run in
a folder with these files, and what it prints is written below it.
"""

import contextlib
import io
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from unittest import mock

from generators.repository import ROOT, Files
from vllm_multinode.cli.app import run

PAGES: Final = ROOT / "docs/coming-from"
_SOURCE: Final = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```', re.MULTILINE | re.DOTALL)
_CONSOLE: Final = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CODE: Final = "  # exit code "


def files() -> Files:
    """Every page, with what its commands print."""
    return {path: replayed(path.read_text(encoding="utf-8")) for path in sorted(PAGES.glob("*.md"))}


def replayed(page: str) -> str:
    """The page, with what its commands print now."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, text in _SOURCE.findall(page):
            Path(name).write_text(text, encoding="utf-8")
        return _CONSOLE.sub(lambda block: f"```console\n{''.join(_lines(block[1]))}```", page)


def _lines(block: str) -> Iterator[str]:
    for line in block.splitlines(keepends=True):
        if line.startswith("$ "):
            code, printed = _printed(shlex.split(line[2:], comments=True))
            command = line.rstrip("\n").partition(_CODE)[0]
            yield f"{command}{_CODE}{code}\n" if code else f"{command}\n"
            yield printed


def _printed(words: list[str]) -> tuple[int, str]:
    """Exit code and output of a command: `multinode`, or `cat`."""
    words, pipe, head = _divided(words)
    program, *arguments = words
    if program == "cat":
        return 0, "".join(Path(name).read_text(encoding="utf-8") for name in arguments)
    if program != "multinode":
        raise SystemExit(f"docs/coming-from: {program} is not run here")
    printed = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": "80"}),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        code = run(arguments)
    lines = printed.getvalue().splitlines(keepends=True)
    return code, "".join(lines[: int(head[-1].removeprefix("-"))] if pipe else lines)


def _divided(words: list[str]) -> tuple[list[str], bool, list[str]]:
    """A command, whether there is a pipe behind it, and `head -N` behind that."""
    if "|" not in words:
        return words, False, []
    place = words.index("|")
    return words[:place], True, words[place + 1 :]
