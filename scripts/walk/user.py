"""A new user: a home, a clone, a Python, and an environment of PATH and HOME."""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from unit.docs.console import ROOT


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, and what it printed, standard output first."""

    code: int
    text: str


class User:
    """Runs commands in a clone, with PATH and HOME alone.

    Args:
        folder: an empty folder for home, clone and Python's environment.
        python: the interpreter that this user has.
        cache: whether ~/.cache is the one of whoever calls.
    """

    def __init__(self, folder: Path, python: str, *, cache: bool) -> None:
        self.home = folder / "home"
        self.clone = folder / "vllm-multinode"
        self.home.mkdir()
        if cache:
            (self.home / ".cache").mkdir()
            for name in ("uv", "pip"):
                kept = Path.home() / ".cache" / name
                kept.mkdir(parents=True, exist_ok=True)
                (self.home / ".cache" / name).symlink_to(kept)
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.clone)], check=True)
        subprocess.run([python, "-m", "venv", str(folder / "python")], check=True)
        self._environment = {
            "PATH": f"{folder / 'python/bin'}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.home),
        }
        self._publish(folder / "index")
        self.run("pip install --quiet uv", timeout=300)

    def _publish(self, index: Path) -> None:
        """The wheel of this checkout stands for the release: pip and uv find it by the project's name."""
        uv = shutil.which("uv") or str(ROOT / ".venv/bin/uv")
        subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", str(index), str(ROOT)], check=True)
        pip = self.home / ".config/pip/pip.conf"
        pip.parent.mkdir(parents=True)
        pip.write_text(f"[install]\nfind-links = {index}\n")
        uv_file = self.home / ".config/uv/uv.toml"
        uv_file.parent.mkdir(parents=True)
        uv_file.write_text(f'find-links = ["{index}"]\nsystem-certs = true\n')
        (self.home / ".config/fish/completions").mkdir(parents=True)

    def start(self, line: str) -> "subprocess.Popen[str]":
        """A command in a process group of its own."""
        return subprocess.Popen(
            ["bash", "-c", line],
            cwd=self.clone, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, line: str, timeout: float) -> Ended:
        """A command, to its end or its timeout (exit code 124)."""
        process = self.start(line)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            return Ended(124, out + err)
        return Ended(process.returncode, out + err)
