"""Runs in vLLM's own Python: `vllm bench serve` again and again, without importing vLLM each time.

It reads one JSON object a line, {"argv": [...]}, and answers each with {"error": "..."} on the descriptor
that it is told. Nothing of this package is imported here.
"""

import json
import os
import sys
from typing import Any


def _run(main: Any, argv: list[str]) -> str:
    """Why it came to nothing; empty where it did not."""
    sys.argv = ["vllm", "bench", "serve", *argv]
    try:
        main()
    except SystemExit as error:
        return "" if error.code in (None, 0) else f"exit status {error.code}"
    except Exception as error:  # noqa: BLE001 - whatever another version raises is told, and the next one runs
        return f"{type(error).__name__}: {error}"
    return ""


def _serve() -> None:
    with os.fdopen(int(sys.argv[1]), "w") as answers:
        from vllm.entrypoints.cli.main import main

        answers.write("{}\n")
        answers.flush()
        for line in sys.stdin:
            error = _run(main, json.loads(line)["argv"])
            sys.stdout.flush()
            answers.write(json.dumps({"error": error}) + "\n")
            answers.flush()


if __name__ == "__main__":
    _serve()
