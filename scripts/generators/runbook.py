"""docs/runbook/index.md: symptoms, then every cause that `doctor` names and every exit code, each with its place."""

from typing import Final

from generators.repository import ROOT, Files
from vllm_multinode.cluster.causes import CAUSES, Area
from vllm_multinode.contract.exit_codes import ExitCode

_HEAD: Final = """# Runbook

`scripts/generate runbook` writes this page. Start with

```console
$ multinode doctor -n models
```

It answers in one sentence: the cause, what shows it, what to do and the next command.

## By symptom
"""

SYMPTOMS: Final = {
    "pending": "Pods stay Pending, or there are none",
    "head-not-ready": "The head is not ready",
    "worker-restarts": "A worker restarts again and again",
    "nccl-hangs": "NCCL hangs, at the start or later",
    "slow-load": "The model loads slowly",
    "slow-answers": "The service answers slowly",
    "ready-unknown": "The service works, and Ready is Unknown",
}
"""Page below docs/runbook -> what is seen."""

AREAS: Final[dict[Area, str]] = {
    "object": "ready-unknown",
    "pods": "pending",
    "container": "worker-restarts",
    "node": "worker-restarts",
    "group": "head-not-ready",
    "engine": "nccl-hangs",
}
"""Where a cause is seen -> the page to begin with."""
_ELSEWHERE: Final = {
    **dict.fromkeys(("image-pull", "volume-mount"), "pending"),
    **dict.fromkeys(("model-fetched", "model-gated"), "slow-load"),
    **dict.fromkeys(
        ("cache-full", "preemptions", "queue", "slow-wire", "rdma-unused", "stages-unlike"), "slow-answers"
    ),
    **dict.fromkeys(
        ("gpu-memory", "cache-too-small", "driver-too-old", "architecture-unknown", "remote-code"),
        "worker-restarts",
    ),
}
"""Causes that another page than their area's is about."""


def files() -> Files:
    """The page."""
    return {ROOT / "docs/runbook/index.md": page()}


def page() -> str:
    """docs/runbook/index.md."""
    lines = [_HEAD, "| you see | read |", "|---|---|"]
    lines += [f"| {seen} | [{name}]({name}.md) |" for name, seen in SYMPTOMS.items()]
    lines += [
        "",
        "## By the cause that doctor names",
        "",
        "| cause | meaning | begin with |",
        "|---|---|---|",
    ]
    for cause in CAUSES.values():
        name = _ELSEWHERE.get(cause.id, AREAS[cause.area])
        lines.append(f"| [{cause.id}](../causes.md#{cause.id}) | {cause.meaning} | [{name}]({name}.md) |")
    lines += ["", "## By exit code", "", "| code | name |", "|---|---|"]
    lines += [f"| [{code.value}](../exit-codes.md#{code.value}) | {code.name} |" for code in sorted(ExitCode)]
    return "\n".join(lines) + "\n"
