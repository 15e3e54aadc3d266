"""A group of stand-in pods that a module's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.local.groups import Group, open_group, stand_in
from vllm_multinode.local.world.pod_spec import HostMount


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    (directory / "config.json").write_text("{}")
    return directory


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Group]:
    """A head and a worker, shared by a module's tests: leave both as they were."""
    base = tmp_path_factory.mktemp("r")
    # As where the engine's programs lie below /tmp, which is the node's own.
    below = HostMount(source=model, target=Path("/tmp/checkout"))
    worker = stand_in("worker-1", "worker", model)
    worker = worker.model_copy(update={"mounts": (*worker.mounts, below)})
    found = open_group(base / "runs", [stand_in("head", "head", model), worker])
    with found.run:
        yield found
    assert not (base / "runs").exists()
