"""A finding: one rule, broken in one place of one object. Everything that judges manifests yields these."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from vllm_multinode.k8s.documents import Document
    from vllm_multinode.platforms.releases import Release

Path = tuple[str | int, ...]
Severity = Literal["refused", "stalls", "risk", "advice"]
SEVERITIES: Final[tuple[Severity, ...]] = ("refused", "stalls", "risk", "advice")
"""Refused by KServe or the API server; accepted, and never serves; not as meant; could be better."""


@dataclass(frozen=True)
class Edit:
    """A value to be written at a path: an existing scalar is replaced, an absent key is added.

    Attributes:
        path: of the value; parents that are absent are added as well.
        value: what to write; None renames the last key of the path instead.
        rename: the key's new name.
        quote: put the scalar as it stands into quotes: 0777 becomes "0777".
    """

    path: Path
    value: str | int | bool | None = None
    rename: str = ""
    quote: bool = False


@dataclass(frozen=True)
class Finding:
    """One rule, broken in one place.

    Whoever finds it gives steps, message, hint and fix, and the control planes the rule as well; the rest is
    filled in by `authoring.rules.validate`.

    Attributes:
        steps: of the path, from the object's root.
        message: one sentence: what will happen; empty for the rule's own.
        hint: one sentence: what to do; empty for the rule's own.
        fix: edits that fix it without a guess; empty where a person has to decide.
        rule: its id, which docs/rules.md lists.
        severity: refused, stalls, risk or advice.
        releases: that it holds for, among those that were asked for.
        file: as the user named it, or the file behind a kustomization's object.
        kind: of the object.
        name: of the object.
        line: in the file, from 1; None where there is no text to point into.
        document: the object.
    """

    steps: Path
    message: str = ""
    hint: str = ""
    fix: tuple[Edit, ...] = field(default=(), repr=False, compare=False)
    rule: str = ""
    severity: Severity = "risk"
    releases: "tuple[Release, ...]" = ()
    file: str = ""
    kind: str = ""
    name: str = ""
    line: int | None = None
    document: "Document | None" = field(default=None, repr=False, compare=False)

    @property
    def path(self) -> str:
        """The path as people write it: spec.predictor.model.env[0].name."""
        return shown(self.steps)

    @property
    def blocks(self) -> bool:
        """Whether nothing serves with it."""
        return self.severity in ("refused", "stalls")


def shown(path: Path) -> str:
    """A path as people write it: spec.predictor.model.env[0].name."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif all(letter.isalnum() or letter in "-_" for letter in step) and step:
            parts.append(f".{step}" if parts else step)
        else:
            quoted = step.replace("'", "\\'")
            parts.append(f"['{quoted}']")
    return "".join(parts)
