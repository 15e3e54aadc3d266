"""Leave one family of models out, refit what is fitted, and plan for that family: how far is it off?

    scripts/crossvalidate [--fit]

With --fit, the constants in use beside those that a fit to all logs gives.
"""

import sys

from unit.sizing.observed import median, share
from unit.sizing.refit import Row, fit, left_out, names, rows, value_of
from vllm_multinode.sizing.planner.fitted import FITTED
from vllm_multinode.sizing.planner.profiling import GIB

TOO_MUCH_GIB = 1.0


def report(label: str, found: list[tuple[Row, float]]) -> str:
    """In a line: how far all of them are off."""
    parts = [excess / (row.observed.logged("kv_gib_per_gpu") or 1) for row, excess in found]
    short = [-part for part in parts if part < 0]
    beyond = (excess * GIB > row.observed.choice.memories[0].error for row, excess in found)
    much = [row for row, excess in found if excess > TOO_MUCH_GIB]
    return (
        f"{label}: {len(found)} logs, median {median(parts):+.2%}, shortfall {median(short):.2%}, more than"
        f" {TOO_MUCH_GIB:g} GiB too much {len(much) / len(found):.1%}, more than the stated error too much"
        f" {share(beyond):.1%}"
    )


def main() -> None:
    """Print the constants in use, then each family with constants fitted to the others."""
    known = rows()
    print(report("as planned", [(row, row.excess(FITTED)) for row in known]))
    if "--fit" in sys.argv:
        whole = fit(known)
        for name in names():
            print(f"  {name[0]}{f' of {name[1]}' if name[1] else '':<5} {value_of(FITTED, name):8.3f}"
                  f" -> {value_of(whole, name):8.3f}")  # fmt: skip
        print(report("refitted to all", [(row, row.excess(whole)) for row in known]))
    all_found: list[tuple[Row, float]] = []
    for family, found in left_out(known):
        all_found += found
        most = max(excess for _, excess in found)
        print(f"  without {family:14} {len(found):3} logs, at most {most:+.2f} GiB too much", flush=True)
    print(report("left out", all_found))
    for row, excess in all_found:
        if excess > TOO_MUCH_GIB:
            print(f"  {row.observed.name} {excess:+.2f}")


if __name__ == "__main__":
    main()
