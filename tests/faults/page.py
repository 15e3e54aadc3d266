"""The table of all faults: rows kept from one run to the next, and the page that they are shown on."""

import dataclasses
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from faults.cases import CASES
from faults.run import LOADS, Row

_INTRODUCTION = """# Faults, and what clients see

`scripts/faults` starts a group of the real engine on local nodes and breaks it, one fault at a time.
Two or three nodes serve a small Llama on CPU, one pipeline stage each. This table is from one machine with
{cores} cores and Linux {kernel}, so the ratios matter more than the seconds.

```console
$ scripts/faults --record build/faults.jsonl --page docs/faults.md
```

With `--case`, `--executor` and `--load` the table can be built in several runs: the record keeps the newest
run of each row.

A row holds if all of this is true:

- The fault is noticed within its bound, and the reason names the node or the process. A death is noticed
  within 1 s, silence within the heartbeat timeout (5 s) plus 1 s, a hang within its timeout plus 5 s. *Never*
  means that the group must continue as if nothing had happened. A fault of the head is noticed by its worker.
- No request hangs, and none ends without an error, unless the API server itself is dead or stopped.
- The group serves again within 1.1 times its own first start. *Serving after* counts from the fault. *Of a
  start* counts from when the fault was noticed and over.
- No process, file in `/dev/shm` or `/tmp`, or Ray session of the previous epoch is left.

Loads are *idle*, *light* (2 clients), *saturating* (16 clients; the engine takes 8 requests at a time) and
*long* (4 clients with 1,500 tokens each). Clients retry every 0.2 s. A request is *answered* to its end,
*told* by an error why it ends, *refused* with 503 and `Retry-After` before it begins, *unreachable* while no
API server is there, or *broken off*.

{held} of the {count} rows below hold. A case that is not in the table was not run in its present form;
`scripts/faults --help` names them all.

| executor | load | fault | noticed after | bound | serving after | of a start | requests | holds |
|---|---|---|---|---|---|---|---|---|
"""
_SKIPPED = """
## Not shown on this machine

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
    """Write the table, and what had to be skipped."""
    tried = [row for row in rows if not row.skipped]
    tried.sort(key=lambda row: (row.executor, list(CASES).index(row.name), list(LOADS).index(row.load)))
    text = _INTRODUCTION.format(
        cores=os.cpu_count(),
        kernel=platform.release().partition("-")[0],
        held=sum(not row.failures for row in tried),
        count=len(tried),
    )
    text += "".join(map(_line, tried))
    why = {f"- {row.what} ({row.executor}): {row.skipped}.\n" for row in rows if row.skipped}
    if why:
        text += _SKIPPED + "".join(sorted(why))
    file.write_text(text, encoding="utf-8")


def _line(row: Kept) -> str:
    noticed, serving = (f"{one:.1f} s" if one is not None else "" for one in (row.noticed, row.serving))
    bound = "never" if row.bound is None else "" if row.bound == float("inf") else f"{row.bound:.0f} s"
    ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
    verdict = f"no: {'; '.join(row.failures)}" if row.failures else "yes"
    cells = (row.executor, row.load, row.what, noticed, bound, serving, ratio, row.requests, verdict)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"
