"""Attacks a group: `scripts/attack [--case NAME...] [--count FACTOR]`; ends with 1 where a bound fails."""

import argparse
import sys
import tempfile
from pathlib import Path

from attack.cases import CASES
from attack.run import MEMORY, run

_SLOWEST = 1.0


def main() -> int:
    """Run what was asked for, one case after the other, each against a group of its own."""
    parser = argparse.ArgumentParser(prog="scripts/attack", description=__doc__)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--count", type=float, default=1.0, help="factor on how often each thing is done")
    options = parser.parse_args()
    print(f"{'case':<17} {'times':>6}  {'probes':>7}  {'control':>7}  {'memory':>8}  {'took':>7}  what")
    print(
        f"{'bound':<17} {'':>6}  {_SLOWEST:>5.1f} s  {'+ this':>7}  {MEMORY:>4.0f} MiB  {'':>7}  "
        "no recovery, no member lost"
    )
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in options.case:
            case = CASES[name]
            count = max(int(case.count * options.count), 1)
            outcome = run(name, case, Path(folder) / name, count=count, slowest=_SLOWEST)
            print(
                f"{name:<17} {count:>6}  {outcome.slowest:>5.2f} s  {outcome.control:>5.2f} s  "
                f"{outcome.memory:>4.0f} MiB  {outcome.seconds:>5.1f} s  {case.what}",
                flush=True,
            )
            for failure in outcome.failures:
                print(f"  FAILED {failure}", flush=True)
            failed += bool(outcome.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
