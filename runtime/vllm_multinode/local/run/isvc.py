"""An InferenceService as pods of this machine: what KServe and our ServingRuntime would make of it."""

import contextlib
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import Field

from vllm_multinode.authoring.render import application, names
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.contract.kserve import MODEL_MOUNT, Role
from vllm_multinode.launcher.arguments import last_value
from vllm_multinode.local.world.pod_spec import HostMount, PodSpec, Restart
from vllm_multinode.platforms.kserve.environment import Service, injected_environment
from vllm_multinode.platforms.kserve.nodes import Layout, layout
from vllm_multinode.platforms.releases import DEFAULT, Release

NAMESPACE: Final = "default"
_CACHE: Final = Path("/cache")
_DRAIN: Final = PodSpec.model_fields["grace"].default - names.TEARDOWN_SECONDS
"""Seconds that running requests get of a pod's grace period."""
_LAUNCHER: Final = Path(names.LAUNCHER_FOLDER)
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# A template's hash, as the Deployment's controller puts into its pods' names.
_TEMPLATE: Final = "6b8f7c9d5"


class LocalService(Frozen):
    """What is to run: the InferenceService, and what only this machine knows."""

    service: Service
    model: Path
    executor: ExecutorName = DEFAULT_EXECUTOR
    release: Release = DEFAULT
    env: dict[str, str] = Field(default={})
    args: tuple[str, ...] = ()
    """For the head's vLLM, as an InferenceService's args are appended to the ServingRuntime's."""
    restart: Restart = "always"
    engine: Path | None = None
    """The interpreter of an environment with this package and another engine (`local.versions`)."""
    pin: bool = False
    """Whether each node gets cores of its own."""
    python: Path | None = None
    """Of an environment with vLLM, that the launcher's zip application runs in, as in a released image."""

    @property
    def speaks_tls(self) -> bool:
        """Whether its API does, as far as the arguments here say."""
        return self._given("--ssl-certfile")

    @property
    def asks_for_key(self) -> bool:
        """Whether its API does, as far as the arguments here say."""
        return env.API_KEY in self.env or self._given("--api-key")

    def _given(self, option: str) -> bool:
        # A --config file is the node's, and need not be here.
        with contextlib.suppress(MultinodeError):
            return last_value(self.args, option) is not None
        return False


def fit(
    release: Release,
    executor: ExecutorName,
    *,
    nodes: int | None,
    tensor_parallel: int,
    pipeline_parallel: int,
    head_gpus: int = 0,
    worker_gpus: int = 0,
) -> Layout:
    """The nodes and their accelerators; where only `nodes` is given, it says what each must hold.

    Raises:
        MultinodeError: That release makes another number of nodes of this.
    """
    total = tensor_parallel * pipeline_parallel
    if nodes is not None and not head_gpus and not worker_gpus and nodes > 1:
        worker_gpus = math.ceil(total / nodes)
        head_gpus = max(total - worker_gpus * (nodes - 1), 0)
    elif nodes == 1 and not worker_gpus:
        head_gpus = head_gpus or total
    found = layout(
        release,
        executor,
        tensor_parallel=tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        head_gpus=head_gpus,
        worker_gpus=worker_gpus,
    )
    if nodes is not None and nodes != found.nodes:
        raise MultinodeError(
            ExitCode.SIZES,
            f"{release.label} makes {found.nodes} nodes of TP {tensor_parallel} x PP {pipeline_parallel} "
            f"with the {executor} executor (head {found.head_gpus}, worker {found.worker_gpus} "
            f"accelerators), not {nodes}.",
            where="--nodes",
            hint="Change --nodes, --tp, --pp, --head-gpus or --worker-gpus.",
        )
    return found


def variables(pairs: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE, each, as a mapping.

    Raises:
        MultinodeError: one without a name or without an equals sign.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise MultinodeError(ExitCode.USAGE, f"'{pair}' is not NAME=VALUE.", where="--env")
        found[name] = value
    return found


def interpreter(python: Path | None) -> Path | None:
    """The Python that plays an image's.

    Raises:
        MultinodeError: it is none.
    """
    if python is None:
        return None
    path = python.absolute()
    if not os.access(path, os.X_OK) or path.is_dir():
        raise MultinodeError(
            ExitCode.USAGE,
            "is not a Python interpreter.",
            where=f"--python {python}",
            hint="Name its executable.",
        )
    return path


def cache_directory() -> Path:
    """What the nodes of all runs share, so that a second start finds what the first one worked out."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "vllm-multinode"


def pods(local: LocalService, cache: Path) -> tuple[PodSpec, ...]:
    """The head, and the workers.

    Args:
        local: what is to run.
        cache: a directory of this machine that all nodes may write to.

    Raises:
        MultinodeError: an invalid model directory, or an unwritable cache.
    """
    if not local.model.is_dir():
        raise MultinodeError(
            ExitCode.MODEL_MISSING,
            "is not a directory.",
            where=str(local.model),
            hint="Create one with 'multinode local make-model DIR'.",
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MultinodeError(
            ExitCode.NOT_WRITABLE,
            f"cannot be created ({error.strerror}).",
            where=str(cache),
            hint="Set XDG_CACHE_HOME.",
        ) from error
    nodes = local.service.nodes
    cores = _shares(nodes) if local.pin else [()] * nodes
    head = _pod(local, cache, "head", "head", cores[0])
    workers = (_pod(local, cache, "worker", f"worker-{number}", cores[number]) for number in range(1, nodes))
    return head, *workers


def program(engine: Path | None = None) -> str:
    """The `multinode` command of an interpreter's environment, this one's by default."""
    return str((engine or Path(sys.executable)).parent / "multinode")


def launcher_command(local: LocalService) -> tuple[str, ...]:
    """What a ServingRuntime has as the container's command."""
    if local.python is None:
        return (program(local.engine),)
    return (str(local.python), f"{_LAUNCHER}/{application.FILE}")


def _image_mounts(local: LocalService, cache: Path) -> tuple[HostMount, ...]:
    """What stands for a released image: its environment, and the launcher as the ConfigMap brings it."""
    if local.python is None:
        return ()
    # By its digest, so that a run that goes on keeps the launcher that it began with.
    launcher = cache / "launchers" / application.config_map_name()
    launcher.mkdir(parents=True, exist_ok=True)
    unfinished = launcher / f".{os.getpid()}"
    unfinished.write_bytes(application.archive())
    unfinished.replace(launcher / application.FILE)
    environment = local.python.parent.parent
    return (
        HostMount(source=launcher, target=_LAUNCHER),
        HostMount(source=environment, target=environment),
    )


def runtime_environment(local: LocalService) -> dict[str, str]:
    """What the image and our ServingRuntime give every container, POD_IP and POD_NAME aside."""
    return {
        "PATH": f"{(local.python or local.engine or Path(sys.executable)).parent}:{_SYSTEM_PATH}",
        "HOME": "/tmp",  # noqa: S108 - the container's own
        "LANG": "C.UTF-8",
        "HF_HOME": str(_CACHE / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "VLLM_CACHE_ROOT": str(_CACHE / "vllm"),
        "VLLM_NO_USAGE_STATS": "1",
        # The nodes share this machine. Left to itself, vLLM binds the first worker of every node to the same
        # core, twenty times slower on two cores; and with one thread there is no pool for a fork to lose.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        env.POD_NAMESPACE: NAMESPACE,
        env.EXECUTOR: local.executor,
        env.GENERATION: str(local.service.generation),
        env.ACCELERATOR: "cpu",
        env.DRAIN_TIMEOUT: f"{_DRAIN:g}",
    }


def _pod(local: LocalService, cache: Path, role: Role, node: str, cores: tuple[int, ...]) -> PodSpec:
    service = local.service
    head = role == "head"
    deployment = f"{service.name}-predictor" + ("" if head else "-worker")
    return PodSpec(
        node=node,
        role=role,
        generate_name=f"{deployment}-{_TEMPLATE}-",
        argv=(*launcher_command(local), role, *(local.args if head else ())),
        env={
            **runtime_environment(local),
            **local.env,
            **injected_environment(local.release, role, service),
        },
        fields={env.POD_IP: "status.podIP", env.POD_NAME: "metadata.name"},
        mounts=(
            HostMount(source=local.model.resolve(), target=Path(MODEL_MOUNT)),
            HostMount(source=cache, target=_CACHE, read_only=False),
            *_image_mounts(local, cache),
        ),
        services=_names(service.head_service if head else service.workers_service),
        cpus=cores,
        restart=local.restart,
    )


def _names(service: str) -> tuple[str, ...]:
    """All that a cluster's resolver answers to."""
    return (service, *(f"{service}.{NAMESPACE}{suffix}" for suffix in ("", ".svc", ".svc.cluster.local")))


def _shares(nodes: int) -> list[tuple[int, ...]]:
    """This process's cores, dealt out; nodes share where there are fewer cores than nodes."""
    cores = sorted(os.sched_getaffinity(0))
    return [tuple(cores[node % len(cores) :: nodes][: max(1, len(cores) // nodes)]) for node in range(nodes)]
