"""Runs the pages for each Python; see scripts/walkthrough."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from unit.docs.console import ROOT, agrees
from walk.page import Command, commands
from walk.user import Ended, User

PAGES = (
    "docs/install.md",
    "README.md",
    "docs/start/laptop.md",
    "docs/start/cluster.md",
    "docs/start/openshift-ai.md",
)
ON_A_CLUSTER = frozenset({"up", "deploy", "wait", "delete", "status", "doctor", "logs", "top"})
PURE = frozenset({"plan", "models", "gpus", "render", "preview", "validate", "schema"})
"""Commands whose output must not depend on the Python."""
NO_CLUSTER = {70: "kubeconfig", 76: "oc is not on PATH"}
"""Exit codes where there is no cluster, and what the line says."""
_TIMEOUT = 900
_SHOWN = 120


class Walk:
    """One user on the way through the pages.

    Args:
        user: whose environment it is.
        plain: leave out what needs the engine.
        show: print what each command printed.
    """

    def __init__(self, user: User, *, plain: bool, show: bool) -> None:
        self._user = user
        self._plain = plain
        self._show = show
        self._running: subprocess.Popen[str] | None = None
        self._shown = ""
        self.faults: list[str] = []
        self.printed: dict[str, str] = {}

    def page(self, page: str) -> None:
        """Every command of one page."""
        for command in commands(ROOT / page):
            begun = time.monotonic()
            result = self._step(command)
            print(f"  {page}: $ {command.line}\n    {result} ({time.monotonic() - begun:.1f} s)", flush=True)
            if result.startswith("FAULT"):
                self.faults.append(f"{page}: $ {command.line}: {result}")

    def _step(self, command: Command) -> str:
        if command.program in ("kubectl", "oc"):
            return "left out: it needs a cluster"
        if self._plain and (command.program == "demo" or "local" in command.line.split()):
            return "left out: it needs the engine"
        if command.program == "source":
            return self._completion(command)
        if "local run" in command.line:
            self._running = self._user.start(command.line)
            self._shown = command.shown
            return self._shown_in_the_other_terminal(command.line.split()[0])
        ended = self._user.run(command.line, _TIMEOUT)
        if self._show:
            print(textwrap.indent(ended.text, "    | "), end="")
        if command.program == "multinode" and command.subcommand in ON_A_CLUSTER:
            return _without_a_cluster(ended)
        if self._running is not None and "local stop" in command.line:
            fault = self._first_terminal()
            if fault:
                return fault
        if command.program == "multinode" and command.subcommand in PURE:
            self.printed[command.line] = ended.text
        return _compared(command, ended)

    def _shown_in_the_other_terminal(self, program: str) -> str:
        """A reader changes terminals once the first one shows the nodes."""
        deadline = time.monotonic() + _SHOWN
        while self._user.run(f"{program} local status", 60).code != 0:
            if time.monotonic() > deadline:
                return f"FAULT: no run within {_SHOWN} s"
            time.sleep(0.2)
        return "runs in another terminal"

    def _first_terminal(self) -> str:
        """What is wrong with the command that ran in the first terminal, now that it has ended."""
        assert self._running is not None
        try:
            text = "".join(self._running.communicate(timeout=120))
        except subprocess.TimeoutExpired:
            self.end()
            return "FAULT: `local run` did not end within 120 s"
        code, self._running = self._running.returncode, None
        if code != 0:
            return f"FAULT: `local run` ended with exit code {code}"
        if not agrees(self._shown, text):
            return f"FAULT: the page shows\n{self._shown}\nand `local run` printed\n{text}"
        return ""

    def end(self) -> None:
        """End the first terminal's command, whatever happened to this walk."""
        if self._running is None:
            return
        self._running.terminate()
        try:
            self._running.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self._running.pid, signal.SIGKILL)
        self._running = None

    def _completion(self, command: Command) -> str:
        shell = "zsh" if "zsh" in command.line else "bash"
        if shutil.which(shell) is None or ("kubectl" in command.line and shutil.which("kubectl") is None):
            return f"left out: no {shell} or no kubectl here"
        load = "autoload -U compinit && compinit -u; " if shell == "zsh" else ""
        ended = self._user.run(f"{shell} -c '{load}{command.line}'", 60)
        if ended.text:
            # `source` itself succeeds whatever the program in its brackets does.
            return f"FAULT: {ended.text}"
        return _compared(command, ended)


def _without_a_cluster(ended: Ended) -> str:
    lines = ended.text.strip().splitlines()
    if ended.code in NO_CLUSTER and len(lines) == 1 and NO_CLUSTER[ended.code] in lines[0]:
        return f"says that there is no cluster: {lines[0]}"
    return f"FAULT: exit code {ended.code}, not one line that says so: {ended.text[-2000:]}"


def _compared(command: Command, ended: Ended) -> str:
    if ended.code != command.code:
        return f"FAULT: exit code {ended.code}, not {command.code}: {ended.text[-3000:]}"
    if "Traceback" in ended.text:
        return f"FAULT: a traceback: {ended.text[-3000:]}"
    if not command.shown:
        return "exit code as said"
    if agrees(command.shown, ended.text):
        return "exit code and output as shown"
    return f"FAULT: the page shows\n{command.shown}\nand it printed\n{ended.text}"


def main() -> int:
    """Walks with each Python; 1 if anything differs from the pages."""
    parser = argparse.ArgumentParser(prog="scripts/walkthrough")
    parser.add_argument("--python", nargs="+", default=[sys.executable])
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--cache", action="store_true")
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    # Ended from outside, it ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    faults: list[str] = []
    printed: dict[str, str] = {}
    for wanted in options.python:
        python = shutil.which(wanted) or shutil.which(f"python{wanted}")
        if python is None:
            parser.error(f"there is no Python {wanted} on PATH.")
        print(
            subprocess.run([python, "-VV"], capture_output=True, text=True, check=True).stdout.strip(),
            flush=True,
        )
        folder = Path(tempfile.mkdtemp(prefix="walk-"))
        try:
            walk = Walk(User(folder, python, cache=options.cache), plain=options.plain, show=options.show)
            try:
                for page in PAGES:
                    walk.page(page)
            finally:
                walk.end()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        faults += [f"Python {wanted}: {fault}" for fault in walk.faults]
        for line, text in walk.printed.items():
            if printed.setdefault(line, text) != text:
                faults.append(
                    f"Python {wanted}: $ {line}: prints something else than with {options.python[0]}"
                )
    print("\n".join(["", *(faults or ["Every command did what its page says."])]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
