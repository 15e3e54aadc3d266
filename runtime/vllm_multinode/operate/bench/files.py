"""Writes a benchmark into a folder: what was measured, drawings, and what vLLM itself wrote beside them."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.operate.bench.charts import charts
from vllm_multinode.operate.bench.result import BenchResult
from vllm_multinode.operate.written import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

RESULT = "result.json"


def new_folder(given: Path | None, name: str) -> Path:
    """An empty folder for the results.

    Args:
        given: where; made where it is not there.
        name: of what is measured, for the folder's name where none is given.

    Raises:
        MultinodeError: NOT_WRITABLE, or USAGE where there is a benchmark in it already.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = given or Path(f"bench-{name}-{stamp}")
    try:
        if (folder / RESULT).exists():
            raise MultinodeError(
                ExitCode.USAGE,
                f"holds a benchmark ({RESULT}), which is not overwritten.",
                where=str(folder),
                hint="Give another folder with --out.",
            )
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder.absolute()
    except OSError as error:
        raise MultinodeError(
            ExitCode.NOT_WRITABLE, f"cannot be written to: {error.strerror}.", where=str(folder)
        ) from error


def write(found: BenchResult, folder: Path) -> None:
    """The result and its drawings, each whole or not at all.

    Raises:
        MultinodeError: NOT_WRITABLE.
    """
    files: Mapping[str, str] = {RESULT: found.model_dump_json(indent=1) + "\n", **charts(found)}
    for name, text in files.items():
        write_whole(folder / name, text.encode())
