"""Three groups of two local nodes behind two routers: `scripts/replicas [--requests N] [--tokens N]`."""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cgroups
from engine.services import LocalGroup
from replicas.allowance import Allowance, allowances, cores_each
from replicas.measure import EVEN, measure, spread
from replicas.serving import serving
from vllm_multinode.local.tiny_model.make_model import make_model

_PATIENCE = 600.0


def main() -> int:
    """Print what each group got; 1 where that is not even, or a request was lost."""
    parser = argparse.ArgumentParser(prog="scripts/replicas", description=__doc__)
    parser.add_argument("--groups", type=int, default=3)
    parser.add_argument("--requests", type=int, default=1000, help="of each phase")
    parser.add_argument("--tokens", type=int, default=2, help="of an answer, on average")
    parser.add_argument(
        "--weights", type=int, nargs="+", default=[3, 5, 9, 19], help="connections of each client"
    )
    parser.add_argument(
        "--pause",
        type=float,
        default=0.0,
        help="seconds before a connection's next request, on average",
    )
    parser.add_argument(
        "--cores",
        type=float,
        help="of CPU time that each group may use; as a rule, its part of seven tenths of the machine",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder) / "model").directory
        with serving(model, options.groups, _PATIENCE) as groups:
            print(f"{options.groups} groups serve; clients with {options.weights} connections", flush=True)
            with _allowances(groups, options.cores or cores_each(options.groups)) as equal:
                figures = measure(
                    groups,
                    Path(folder),
                    allowances=equal,
                    weights=options.weights,
                    tokens=options.tokens,
                    requests=options.requests,
                    patience=_PATIENCE,
                    pause=options.pause,
                    say=lambda line: print(line, flush=True),
                )
    phases = {"all serve": figures.even, "the second dead": figures.without, "it is back": figures.returned}
    for name, counts in phases.items():
        print(f"{name:16} requests per head {counts}, the fewest {spread(counts):.1%} below the most")
    tally = figures.tally
    print(f"{tally.answered} answered, {len(tally.lost)} lost before they had begun, {tally.cut} cut off")
    for why in tally.lost[:10]:
        print(f"  {why}")
    uneven = [name for name, counts in phases.items() if spread(counts) > EVEN]
    if uneven:
        print(f"Uneven, by more than {EVEN:.0%}: {', '.join(uneven)}")
    return 1 if uneven or tally.lost else 0


@contextmanager
def _allowances(groups: Sequence[LocalGroup], cores: float) -> Iterator[list[Allowance]]:
    """Equal ones, or none where this machine does not let us; it says which."""
    with ExitStack() as ends:
        try:
            found = ends.enter_context(allowances(groups, cores))
        except cgroups.NoCgroupError as error:
            print(f"{error}: the groups share this machine's cores, and unlike speed is unlike load")
            found = []
        else:
            print(f"Each group may use {cores:.2f} of a core")
        yield found


if __name__ == "__main__":
    sys.exit(main())
