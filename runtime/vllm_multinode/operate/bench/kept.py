"""The last benchmark of a service, kept for the page: by the service, not by the folder it was written to."""

import logging
import os
from pathlib import Path
from typing import Final

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.operate.bench.result import BenchResult, read_result
from vllm_multinode.operate.observation import Observation
from vllm_multinode.operate.written import replace_whole, text_of

log = logging.getLogger(__name__)

_STATE: Final = "XDG_STATE_HOME"
_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


def keep(found: BenchResult, seen: Observation) -> None:
    """Keep a benchmark as its service's last one, without the single looks.

    Raises:
        OSError: it cannot be written.
    """
    path = _path(seen)
    path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    text = found.model_copy(update={"samples": {}}).model_dump_json() + "\n"
    replace_whole(path, text.encode(), _FILE_MODE)


def last_of(seen: Observation) -> BenchResult | None:
    """The last benchmark of a service; None where none was kept, or none that can be read."""
    try:
        path = _path(seen)
        return read_result(text_of(path), str(path)) if path.is_file() else None
    except (MultinodeError, OSError) as error:
        log.warning("the last benchmark is not shown: %s", error)
        return None


def _path(seen: Observation) -> Path:
    """By the object's uid, which no other cluster and no later service of the name has.

    Raises:
        OSError: this user has no home.
    """
    given = os.environ.get(_STATE, "")
    try:
        state = Path(given) if Path(given).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from error
    snapshot = seen.snapshot
    uid = str(((snapshot.service or {}).get("metadata") or {}).get("uid") or "")
    in_cluster = uid or f"{snapshot.namespace}-{snapshot.name}"
    name = f"local-{snapshot.name}" if seen.place == "local" else in_cluster
    return state / "vllm-multinode" / "bench" / f"{_safe(name)}.json"


def _safe(name: str) -> str:
    return "".join(one if one.isalnum() or one in "-_" else "-" for one in name)[:120]
