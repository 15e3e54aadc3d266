"""What validation tells about one place of one document."""

from dataclasses import dataclass, field
from typing import Any

from vllm_multinode.authoring.rules.edits import Edit
from vllm_multinode.authoring.rules.rule import SEVERITIES, Severity
from vllm_multinode.k8s.access import Path
from vllm_multinode.k8s.documents import Document
from vllm_multinode.platforms.releases import Release, listed


@dataclass(frozen=True)
class Finding:
    """One rule, broken in one place.

    Attributes:
        rule: its id, which docs/rules.md lists.
        severity: refused, stalls, risk or advice.
        releases: that it holds for, among those that were asked for.
        file: as the user named it, or the file behind a kustomization's object.
        kind: of the object.
        name: of the object.
        path: in the object: spec.predictor.model.env[0].name.
        line: in the file, from 1; None where there is no text to point into.
        message: one sentence: what will happen.
        hint: one sentence: what to do.
        document: the object.
        fix: edits that fix it without a guess; empty where a person has to decide.
    """

    rule: str
    severity: Severity
    releases: tuple[Release, ...]
    file: str
    kind: str
    name: str
    path: str
    line: int | None
    message: str
    hint: str
    document: Document | None = field(default=None, repr=False, compare=False)
    steps: Path = field(default=(), repr=False, compare=False)
    fix: tuple[Edit, ...] = field(default=(), repr=False, compare=False)

    @property
    def blocks(self) -> bool:
        """Whether nothing serves with it."""
        return self.severity in ("refused", "stalls")

    def as_object(self) -> dict[str, Any]:
        """As `multinode validate -o json` prints it."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "releases": [one.name for one in self.releases],
            "file": self.file,
            "kind": self.kind,
            "name": self.name,
            "path": self.path,
            "line": self.line,
            "message": self.message,
            "hint": self.hint,
        }

    def as_text(self, asked: tuple[Release, ...]) -> str:
        """One line; the releases are named where it does not hold for all that were asked for."""
        place = (
            f"{self.file}:{self.line}" if self.line else f"{self.file}: {self.kind}/{self.name} {self.path}"
        )
        held = f" ({listed(self.releases)})" if self.releases != asked else ""
        message = self.message[:1].upper() + self.message[1:]
        return " ".join(f"{place}: {self.severity} {self.rule}: {message} {self.hint}{held}".split())

    def order(self) -> tuple[str, int, int, str]:
        """Files in order, worst first."""
        return (self.file, SEVERITIES.index(self.severity), self.line or 0, self.rule)
