"""Faults of the model's files while it is served, each followed by a loss, so that they are read again."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from engine.services import LocalGroup
from faults.acts import Act, Undo, ends, nothing
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.kserve import MODEL_MOUNT
from vllm_multinode.local.tiny_model.make_model import make_model


def directory(group: LocalGroup) -> Path:
    """The one that is mounted into the pods."""
    spec = group.pods[0]
    return next(mount.source for mount in spec.mounts if mount.target == Path(MODEL_MOUNT))


def shortened(file: Path) -> None:
    """Leave the first half."""
    os.truncate(file, file.stat().st_size // 2)


def damaged(change: Callable[[Path], object], then: Act, code: ExitCode) -> Act:
    """A weight file is damaged, and then something is lost: the head says so, and ends with that code."""

    def act(group: LocalGroup) -> Undo:
        file = min(directory(group).glob("*.safetensors"))
        kept = file.read_bytes()
        change(file)
        then(group)

        def undo() -> None:
            try:
                ends("head", group, code, file.name)
            finally:
                file.write_bytes(kept)

        return undo

    return act


def changed(then: Act) -> Act:
    """Other weights stand in its place, file by file, and then something is lost."""

    def act(group: LocalGroup) -> Undo:
        folder = directory(group)
        other = make_model(folder.parent / "other", seed=1).directory
        _copy(other, folder)
        then(group)
        return nothing

    return act


def _copy(source: Path, target: Path) -> None:
    for file in source.glob("*.safetensors"):
        unfinished = target / f".{file.name}"
        shutil.copyfile(file, unfinished)
        unfinished.replace(target / file.name)
