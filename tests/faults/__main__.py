"""Breaks a group of the real engine: `scripts/faults [--executor NAME] [--case NAME...] [--load NAME...]`.

With `--record FILE` the rows are kept, so that a table can be made in several runs; `--page FILE` writes it.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from faults.cases import CASES, Case, Group
from faults.page import keep, kept, write_page
from faults.run import LOADS, Row, broken
from vllm_multinode.contract.executors import EXECUTOR_NAMES, ExecutorName
from vllm_multinode.local.tiny_model.make_model import make_model

_BEGIN = "{:<9}{:<11}{:<50}"
_END = "{:>8}{:>7}{:>9}{:>7}  {}"
_HEADINGS = (_BEGIN + _END).format(
    "executor", "load", "fault", "noticed", "bound", "serving", "start", "requests"
)


def main() -> int:
    """Run what was asked for; 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("--executor", nargs="+", choices=EXECUTOR_NAMES, default=list(EXECUTOR_NAMES))
    parser.add_argument(
        "--case", nargs="*", choices=CASES, default=list(CASES), help="none: write the page alone"
    )
    parser.add_argument("--load", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--record", type=Path, help="add the rows to this file, a JSON object a line")
    parser.add_argument("--page", type=Path, help="write the record's table to this Markdown file")
    parser.add_argument("--logs", type=Path, help="keep what the pods have written in this folder")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "model").directory
        for executor in options.executor:
            for number, (like, names) in enumerate(_groups(executor, options.case).items()):
                place = folder / f"{executor}{number}"
                kept_logs = options.logs / f"{executor}{number}" if options.logs else None
                for row in _rows(executor, model, place, like, names, options.load, kept_logs):
                    show(row)
                    failed += bool(row.failures)
                    if options.record:
                        keep(options.record, row)
    if options.record and options.page:
        write_page(options.page, kept(options.record))
    return 1 if failed else 0


def _groups(executor: ExecutorName, names: list[str]) -> dict[Group, list[str]]:
    """The cases by the group that they are tried on."""
    groups: dict[Group, list[str]] = {}
    for name in names:
        if executor in CASES[name].executors:
            groups.setdefault(CASES[name].group, []).append(name)
    return groups


def _rows(
    executor: ExecutorName,
    model: Path,
    folder: Path,
    like: Group,
    names: list[str],
    loads: list[str],
    logs: Path | None,
) -> Iterator[Row]:
    with broken(executor, model, folder, like, logs) as group:
        print(f"{executor}, {like.nodes} nodes: serving after {group.start:.1f} s\n{_HEADINGS}", flush=True)
        for name in names:
            for load in _loads(CASES[name], loads):
                yield group.run(name, CASES[name], load)


def _loads(case: Case, asked: list[str]) -> list[str]:
    return [load for load in asked if load in case.loads]


def show(row: Row) -> None:
    """One line, and one for each bound that did not hold."""
    begin = _BEGIN.format(row.executor, row.load, row.case.what)
    if row.skipped:
        print(f"{begin}skipped: {row.skipped}", flush=True)
        return
    noticed = f"{row.noticed:.2f} s" if row.noticed is not None else "-"
    bound = "never" if row.bound is None else "-" if row.bound == float("inf") else f"{row.bound:.0f} s"
    serving = f"{row.serving:.1f} s" if row.serving is not None else "-"
    ratio = f"{row.ratio:.2f}" if row.ratio is not None else "-"
    print(begin + _END.format(noticed, bound, serving, ratio, row.requests))
    if row.reason:
        print(f"    {row.reason}")
    for said, count in (row.clients.said if row.clients else {}).items():
        print(f"    {count} clients: {said}")
    for failure in row.failures:
        print(f"  FAILED {row.name}: {failure}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
