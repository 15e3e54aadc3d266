"""The page of what members cost their head: a table and a picture, from 2 to 4,096 members."""

import os
from pathlib import Path

from bench.members import HEARTBEAT, Scale, curve
from bench.plot import svg

_INTRODUCTION = """# Members and their head

This measures the supervisor alone: one head with simulated members that join, send heartbeats and are lost,
without an engine. Members and head share one machine with {cores} cores, which also had other work.

```console
$ scripts/bench --scale docs/scale.md
```

![What so many members cost](scale.svg)

| members | all joined | heartbeats, of a core | resident | closed: noticed | silent: noticed | joined again |
|---|---|---|---|---|---|---|
"""
_END = f"""
A closed connection is a killed pod. A silent one is frozen or cut off: the head waits {HEARTBEAT:g} s for it
(`MULTINODE_HEARTBEAT_TIMEOUT`).
"""


def write(page: Path) -> None:
    """Measure, and write the page and its picture beside it."""
    show(page, curve())


def show(page: Path, scales: list[Scale]) -> None:
    """Write the page and its picture.

    Args:
        page: the Markdown file; the picture has its name and .svg.
        scales: as measured.
    """
    text = _INTRODUCTION.format(cores=os.cpu_count()) + "".join(map(_row, scales)) + _END
    page.write_text(text, encoding="utf-8")
    curves = {
        "all joined, s": [(one.members, one.joined) for one in scales],
        "heartbeats, % of a core": [(one.members, max(one.cpu, 0.1)) for one in scales],
        "closed: noticed, s": [(one.members, one.closed) for one in scales],
        "silent: noticed, s": [(one.members, one.silent) for one in scales],
        "resident, MiB": [(one.members, one.resident) for one in scales],
    }
    picture = svg("What so many members cost their head", "members", "seconds, %, MiB", curves)
    page.with_suffix(".svg").write_text(picture, encoding="utf-8")


def _row(one: Scale) -> str:
    cells = (
        f"{one.members:,}",
        f"{one.joined:.2f} s",
        f"{one.cpu:.1f} %",
        f"{one.resident:.0f} MiB",
        f"{one.closed:.3f} s",
        f"{one.silent:.2f} s",
        f"{one.again:.3f} s",
    )
    return f"| {' | '.join(cells)} |\n"
