"""Breaks a group of the real engine: `scripts/faults [--executor NAME] [--case NAME...] [--load NAME...]`."""

import argparse
import sys
import tempfile
from pathlib import Path

from faults.cases import CASES
from faults.run import LOADS, Row, broken
from vllm_multinode.contract.executors import EXECUTOR_NAMES
from vllm_multinode.local.tiny_model.make_model import make_model

_HEADINGS = f"{'executor':<9}{'load':<11}{'fault':<46}{'noticed':>8}{'bound':>7}{'serving':>9}  requests"


def main() -> int:
    """Run what was asked for; 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("--executor", nargs="+", choices=EXECUTOR_NAMES, default=list(EXECUTOR_NAMES))
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--load", nargs="+", choices=LOADS, default=list(LOADS))
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "model").directory
        for executor in options.executor:
            with broken(executor, model, folder / executor) as group:
                print(f"{executor}: serving after {group.start:.1f} s\n{_HEADINGS}", flush=True)
                for name in options.case:
                    if executor not in CASES[name].executors:
                        continue
                    for load in options.load:
                        row = group.run(name, CASES[name], load)
                        show(row)
                        failed += bool(row.failures)
    return 1 if failed else 0


def show(row: Row) -> None:
    """One line, and one for each bound that did not hold."""
    outcomes = row.clients.outcomes if row.clients else {}
    counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    noticed = f"{row.noticed:.2f} s" if row.noticed is not None else "-"
    bound = f"{row.case.noticed:.0f} s" if row.case.noticed is not None else "never"
    serving = f"{row.serving:.1f} s" if row.serving is not None else "-"
    begin = f"{row.executor:<9}{row.load:<11}{row.case.what:<46}"
    print(f"{begin}{noticed:>8}{bound:>7}{serving:>9}  {counted or '-'}")
    if row.reason:
        print(f"    {row.reason}")
    for said, count in (row.clients.said if row.clients else {}).items():
        print(f"    {count} clients: {said}")
    for failure in row.failures:
        print(f"  FAILED {row.name}: {failure}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
