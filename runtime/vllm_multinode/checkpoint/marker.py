"""What says that a model directory is whole: a file that `multinode fetch` leaves and preflight reads."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vllm_multinode.checkpoint.config import MOST_BYTES
from vllm_multinode.contract.bounded import read_bounded
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.faults import first_fault

MARKER: Final = ".multinode-model.json"
WORK: Final = ".multinode-fetch"
"""Folder of the model directory that holds what is not finished."""
LOCK: Final = ".multinode-fetch.lock"
"""Held by whoever writes into the model directory."""

State = Literal["fetching", "failed", "whole"]


class _Read(BaseModel):
    """Frozen; what a later version adds is passed over, since its image may have filled the claim."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class MarkedFile(_Read):
    """One file of the model, as it was when it had been checked."""

    size: int = Field(ge=0, description="bytes")
    digest: str = Field("", description="algorithm:value, as the source gave it; empty where it gives none")


class Marker(_Read):
    """Where a model came from and what belongs to it. Files and bytes are known once it is whole."""

    state: State
    source: str = Field(description="as it was asked for: hf://org/name, s3://bucket/prefix, …")
    revision: str = Field("", description="what the source had then: a commit, a digest")
    files: dict[str, MarkedFile] = Field({}, description="by name, relative to the directory")
    bytes: int = Field(0, ge=0, description="of all files")
    at: datetime = Field(description="when this was written, UTC")
    version: str = Field("", description="of the package that wrote it")
    owner: str = Field("", description="the pod that wrote it")
    reason: str = Field("", description="why it failed")


def now() -> datetime:
    """The time for a marker, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def read_marker(directory: Path) -> Marker | None:
    """Read a directory's marker; None where there is none.

    Raises:
        MultinodeError: MODEL_MISSING when there is one that cannot be read.
    """
    path = directory / MARKER
    try:
        return Marker.model_validate_json(read_bounded(path, MOST_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}."
    except ValidationError as error:
        what = f"is not a marker of `fetch`: {first_fault(error)}."
    hint = "Run multinode fetch again, or remove this file if the model was copied in another way."
    raise MultinodeError(ExitCode.MODEL_MISSING, what, where=str(path), hint=hint)


def write_marker(directory: Path, marker: Marker) -> None:
    """Put a marker in its place: a reader sees the old one or the new one, never half of it."""
    path = directory / MARKER
    unfinished = path.with_name(f"{MARKER}.{os.getpid()}.tmp")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(marker.model_dump_json(indent=1, exclude_defaults=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
