"""Saturates the real engine: `scripts/saturate [--kind NAME...] [--minutes N]`; 1 if it restarts."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from saturate.kinds import KINDS
from saturate.load import Load
from saturate.watch import Watch, serving
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, EXECUTOR_NAMES
from vllm_multinode.local.tiny_model.make_model import make_model

HANG = 20.0
"""Seconds of the hang timeout: a sixth of the default, so that minutes show what hours would."""


def main() -> int:
    """Each kind against a group of its own, one after the other."""
    parser = argparse.ArgumentParser(prog="scripts/saturate", description=__doc__)
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--executor", choices=EXECUTOR_NAMES, default=DEFAULT_EXECUTOR)
    parser.add_argument("--minutes", type=float, default=5, help="of each kind")
    parser.add_argument("--clients", type=int, default=300, help="that wait at the same time")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="s") as name:
        model = make_model(Path(name) / "model").directory
        for kind in options.kind:
            print(
                f"{kind}: {KINDS[kind].what}; {options.minutes:g} minutes over {options.executor}", flush=True
            )
            with serving(Path(name) / kind, model, KINDS[kind], options.executor, HANG) as group:
                watch = Watch(group)
                load = Load(group.apis["head"], KINDS[kind], options.clients)
                try:
                    asyncio.run(load.run(60 * options.minutes))
                finally:
                    seen = watch.end()
            for line in (*load.lines(), *seen.lines()):
                print(f"  {line}", flush=True)
            problems = [*seen.problems(), *load.problems()]
            for problem in problems:
                print(f"  FAILED {problem}", flush=True)
            failed += bool(problems)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
