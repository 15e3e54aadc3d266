"""Prints the figures: `scripts/bench [--only NAME...] [--executor mp|ray] [--rounds N] [--soak SECONDS]`."""

import argparse
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from bench import members, notice, recovery, scale, soak, start, supervisor, watched
from bench.report import Figure
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.local.tiny_model.make_model import make_model

_NAMES = ("members", "start", "recovery", "notice", "supervisor", "watched", "soak")


def main() -> None:
    """Run what was asked for, each figure printed as soon as it is there."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=_NAMES)
    parser.add_argument("--executor", nargs="+", choices=("mp", "ray"), default=["mp", "ray"])
    parser.add_argument(
        "--rounds", type=int, default=3, help="of each cold start, whose median counts, and of watching"
    )
    parser.add_argument("--soak", type=float, default=600, help="seconds of saturating load")
    parser.add_argument(
        "--scale", type=Path, metavar="PAGE", help="write the curve over members there, and end"
    )
    options = parser.parse_args()
    if options.scale:
        scale.write(options.scale)
        return
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        make_model(model)
        for name, measure in _plan(model, options):
            if not options.only or name in options.only:
                for figure in measure():
                    print(figure, flush=True)


def _plan(model: Path, options: argparse.Namespace) -> list[tuple[str, Callable[[], Iterable[Figure]]]]:
    plan: list[tuple[str, Callable[[], Iterable[Figure]]]] = [("members", members.measure)]
    for executor in options.executor:
        plan += _of_executor(model, executor, options)
    return plan


def _of_executor(
    model: Path, executor: ExecutorName, options: argparse.Namespace
) -> list[tuple[str, Callable[[], Iterable[Figure]]]]:
    return [
        ("start", lambda: start.measure(model, executor, options.rounds)),
        ("recovery", lambda: recovery.measure(model, executor, options.rounds)),
        ("notice", lambda: notice.measure(model, executor)),
        ("supervisor", lambda: supervisor.measure(model, executor)),
        ("watched", lambda: watched.measure(model, executor, options.rounds)),
        ("soak", lambda: soak.measure(model, executor, options.soak)),
    ]


if __name__ == "__main__":
    main()
