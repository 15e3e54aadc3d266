"""The table of all faults: rows kept from one run to the next, and the page that they are shown on."""

import dataclasses
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from faults.run import Row

_INTRODUCTION = """# What breaks, and what is seen of it

`scripts/faults` runs a group of the real engine over local nodes and breaks it, one fault after the other.
A row holds if the fault is noticed within its bound, the head's reason names what was lost, no request
hangs or ends without a word, the group serves again within 1.1 times its first start, and no process, file or
shared memory of the epoch before is left. *Serving after* counts from the fault; *of a start* from when the
fault was noticed and over, divided by the time of the group's first start.

```console
$ scripts/faults --record build/faults.jsonl --page docs/faults.md
```

makes this table. With `--case`, `--executor` and `--load` it can be made in several runs: the record keeps
the newest of each row. Times are of one machine with {cores} cores ({system}) and other work on it: the
ratios count.

| executor | load | fault | noticed after | bound | serving after | of a start | requests | holds |
|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Kept:
    """One row, as it is recorded."""

    executor: str
    load: str
    name: str
    what: str
    noticed: float | None
    bound: float | None
    serving: float | None
    ratio: float | None
    requests: str
    skipped: str
    failures: list[str]


def keep(file: Path, row: Row) -> None:
    """Add it to a record."""
    found = Kept(
        row.executor,
        row.load,
        row.name,
        row.case.what,
        row.noticed,
        row.bound,
        row.serving,
        row.ratio,
        row.requests,
        row.skipped,
        row.failures,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(dataclasses.asdict(found)) + "\n")


def kept(file: Path) -> list[Kept]:
    """The record's rows, of each the newest."""
    rows = [Kept(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    newest = {(row.executor, row.name, row.load): row for row in rows}
    return list(newest.values())


def write_page(file: Path, rows: list[Kept]) -> None:
    """Write the table."""
    head = _INTRODUCTION.format(cores=os.cpu_count(), system=f"Linux {platform.release().split('-')[0]}")
    file.write_text(head + "".join(map(_line, rows)), encoding="utf-8")


def _line(row: Kept) -> str:
    noticed, serving = (f"{one:.1f} s" if one is not None else "" for one in (row.noticed, row.serving))
    bound = "never" if row.bound is None else "" if row.bound == float("inf") else f"{row.bound:.0f} s"
    ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
    verdict = f"skipped: {row.skipped}" if row.skipped else "; ".join(row.failures) or "yes"
    cells = (row.executor, row.load, row.what, noticed, bound, serving, ratio, row.requests, verdict)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"
