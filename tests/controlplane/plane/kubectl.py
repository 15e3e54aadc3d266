"""kubectl, as the tests and the harness call it."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_TIMEOUT: Final = 120.0
_ESTABLISHED_TIMEOUT: Final = 60.0
_POLL: Final = 0.1
_SAID_CHARACTERS: Final = 8192


class KubectlError(Exception):
    """kubectl refused; the text is what it said."""


def program() -> Path:
    """The kubectl beside this Python, which the development environment brings, or the one on PATH.

    Raises:
        KubectlError: there is none.
    """
    beside = Path(sys.executable).parent / "kubectl"
    found = beside if beside.exists() else shutil.which("kubectl")
    if found is None:
        raise KubectlError("kubectl is neither beside this Python nor on PATH; run scripts/setup.")
    return Path(found)


@dataclass(frozen=True)
class Kubectl:
    """Speaks to one cluster, as one user, in one namespace.

    Args:
        kubeconfig: who and where.
        namespace: the one that all is in; where empty, each object's own, or else `default`.
    """

    kubeconfig: Path
    namespace: str = ""

    @property
    def _where(self) -> tuple[str, ...]:
        return ("--namespace", self.namespace) if self.namespace else ()

    def __call__(self, *arguments: str | Path, documents: Sequence[Mapping[str, Any]] = ()) -> str:
        """What kubectl prints.

        Args:
            arguments: all that follows `kubectl`.
            documents: objects for its standard input, as `-f -` takes them.

        Raises:
            KubectlError: it ended with an error.
        """
        done = subprocess.run(
            [program(), "--kubeconfig", self.kubeconfig, *self._where, *arguments],
            input=json.dumps(_list(documents)) if documents else None,
            # No standard input of its own: a kubectl that asks for one must not wait for the terminal.
            stdin=None if documents else subprocess.DEVNULL,
            # Its cache of what the API offers is kept by address, and an address may be another cluster's.
            env={"HOME": str(self.kubeconfig.parent), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise KubectlError(done.stderr.strip()[-_SAID_CHARACTERS:])
        return done.stdout

    def apply(self, *documents: Mapping[str, Any]) -> str:
        """Server-side apply."""
        return self("apply", "--server-side", "--force-conflicts", "-f", "-", documents=documents)

    def apply_crds(self, *files: Path) -> None:
        """Apply files of CustomResourceDefinitions, and return when their kinds can be used."""
        names = ",".join(map(str, files))
        self("apply", "--server-side", "-f", names)
        deadline = time.monotonic() + _ESTABLISHED_TIMEOUT
        # Not `kubectl wait`, nor a JSONPath: both fail where a status has no conditions yet.
        while not all(_established(crd) for crd in self.list("crd")):
            if time.monotonic() >= deadline:
                raise KubectlError(f"{names}: not established within {_ESTABLISHED_TIMEOUT:g} s.")
            time.sleep(_POLL)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object.

        Raises:
            KubectlError: there is none.
        """
        found: dict[str, Any] = json.loads(self("get", kind, name, "-o", "json"))
        return found

    def list(self, kinds: str, selector: str = "") -> list[dict[str, Any]]:
        """All objects of one kind or of several, separated by commas, in this namespace."""
        selected = ("--selector", selector) if selector else ()
        found: list[dict[str, Any]] = json.loads(self("get", kinds, "-o", "json", *selected))["items"]
        return found


def _established(crd: Mapping[str, Any]) -> bool:
    conditions = crd.get("status", {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def _list(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(documents)}
