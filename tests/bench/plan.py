"""Time of `multinode plan`: from process start to its answer, and inside the process.

    python tests/bench/plan.py [NAME GPU]...

Prints the least and the median of some runs, in milliseconds; the least is the one that was disturbed least.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from vllm_multinode.sizing.model.sources import find_model
from vllm_multinode.sizing.planner.plan import choose
from vllm_multinode.sizing.planner.report import as_text
from vllm_multinode.sizing.planner.request import Request, find_gpu

RUNS = 15
CASES = (
    ("deepseek-r1-0528", "H100"),
    ("llama-3.3-70b-instruct", "L4"),
    ("kimi-k2.5", "H200"),
    ("llama-3.1-405b-instruct", "T4"),
)


def measured(work: Callable[[], object]) -> str:
    """The least and the median of some runs."""
    spent = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        work()
        spent.append((time.perf_counter() - begun) * 1000)
    return f"{min(spent):6.0f} {statistics.median(spent):6.0f}"


def process(name: str, gpu: str) -> None:
    """A whole run of the command."""
    program = "from vllm_multinode.cli.main import main; main()"
    arguments = [sys.executable, "-c", program, "plan", name, "--gpu", gpu]
    subprocess.run(arguments, stdout=subprocess.DEVNULL, check=True)


def inside(name: str, gpu: str) -> str:
    """The answer, in this process."""
    return as_text(choose(Request(find_model(name), find_gpu(gpu)[0])))


def main() -> None:
    """Print the table."""
    given = sys.argv[1:]
    cases = tuple(zip(given[::2], given[1::2], strict=True)) or CASES
    print(f"{'':42}process (ms)   inside (ms)")
    for name, gpu in cases:
        whole = measured(lambda name=name, gpu=gpu: process(name, gpu))  # type: ignore[misc]
        part = measured(lambda name=name, gpu=gpu: inside(name, gpu))  # type: ignore[misc]
        print(f"{name + ' on ' + gpu:42}{whole}  {part}")


if __name__ == "__main__":
    main()
