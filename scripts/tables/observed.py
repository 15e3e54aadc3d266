"""Print published start logs of vLLM beside what a plan says for each.

    scripts/observed [TEXT]...

With texts, only cases whose name has one of them.
"""

import sys

from unit.sizing.observed import Observed, cases, median, planned, share
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.sizing.planner.profiling import GIB


def shown(value: float | None, times: float = 1) -> str:
    """In eight columns; a dash for unknown."""
    return f"{'-':>8}" if value is None else f"{times * value:8.2f}"


def row(one: Observed) -> str:
    """A line of the table."""
    first = one.choice.memories[0]
    weights = (one.logged("weights_gib_per_gpu"), first.weights / GIB)
    cache = (one.logged("kv_gib_per_gpu"), first.available / GIB)
    figures = "".join(map(shown, (*weights, *cache, one.excess_gib)))
    started = {True: "started", False: "did not start", None: "not said"}[one.started]
    return f"{one.name[:72]:72}{figures}{shown(one.token_error, 100)}  {started}: {one.choice.verdict}"


def main() -> None:
    """Print the table and what it comes to."""
    found, wanted = [], sys.argv[1:]
    print(f"{'':72} weights planned   cache planned  excess bytes/t%")
    for case in cases():
        if wanted and not any(text in case["id"] for text in wanted):
            continue
        try:
            found.append(planned(case))
        except MultinodeError as error:
            print(f"{case['id'][:72]:72} {error}")
            continue
        print(row(found[-1]))
    weights = [one.weights_error for one in found if one.weights_error is not None]
    caches = [one.cache_error for one in found if one.cache_error is not None]
    if weights and caches:
        over = share((one.excess_gib or 0) > 1 for one in found if one.cache_error is not None)
        print(
            f"weights: median {median(weights):+.2%}, within 2 % {share(abs(w) < 0.02 for w in weights):.1%}"
        )
        print(f"cache: median {median(caches):+.2%}, more than 1 GiB too much {over:.1%}")


if __name__ == "__main__":
    main()
