"""The environment of a pod, read once into something frozen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from vllm_multinode.contract import env, ports
from vllm_multinode.contract.bounded import read_bounded
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, EXECUTOR_NAMES, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.contract.kserve import MODEL_MOUNT, Role
from vllm_multinode.launcher.variables import Variables

AcceleratorChoice = Literal["auto", "cuda", "rocm", "xpu", "gaudi", "cpu"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

_LONGEST_TOKEN = 1 << 16


class Sizes(Frozen):
    """How the model is divided over the group."""

    tensor_parallel: int = Field(ge=1, description="ranks that share each layer")
    pipeline_parallel: int = Field(ge=1, description="stages of consecutive layers")
    nodes: int = Field(ge=1, description="pods of the group, the head included")

    @property
    def world(self) -> int:
        """Ranks of the engine, one accelerator each."""
        return self.tensor_parallel * self.pipeline_parallel


class Ports(Frozen):
    """TCP ports, the same on every node."""

    api: int
    supervisor: int
    master: int
    ray: int
    ray_workers: tuple[int, int]


class Timings(Frozen):
    """Bounds in seconds, and budgets in attempts."""

    heartbeat: float = Field(description="silence after which a peer is lost")
    head: float = Field(description="how long a worker looks for its head")
    members: float = Field(description="how long a head waits for workers that are missing")
    start: float = Field(description="from the engine's start to its first healthy response")
    model: float = Field(0, description="how long a model that is being fetched is waited for")
    hang: float = Field(description="requests run and no counter moves for so long: hung")
    drain: float = Field(description="what running requests get to finish after SIGTERM")
    backoff: float = Field(description="wait before the second start; doubled each time, 60 at most")
    stable_after: float = Field(description="serving so long forgets earlier recoveries")
    start_attempts: int = Field(description="engine starts that may fail in a row")
    recovery_attempts: int = Field(description="recoveries that may follow each other")


class GroupName(Frozen):
    """One generation of one service. What a pod was not told is None, and agrees with everything."""

    namespace: str | None = None
    service: str | None = None
    generation: str | None = None

    def difference(self, other: "GroupName") -> str | None:
        """The first part that both know and that differs, in words."""
        for part in ("namespace", "service", "generation"):
            ours, theirs = getattr(self, part), getattr(other, part)
            if ours is not None and theirs is not None and ours != theirs:
                return f"{part} {theirs}, not {ours}"
        return None

    def learn(self, other: "GroupName") -> "GroupName":
        """This name, with the parts that only the other knows."""
        return GroupName(**{part: value or getattr(other, part) for part, value in self})


class Settings(Frozen):
    """All that one pod was told. Sizes are None where KServe tells a worker nothing (before v0.18)."""

    role: Role
    sizes: Sizes | None
    gpus: int | None = Field(description="accelerators given to this pod")
    executor: ExecutorName
    accelerator: AcceleratorChoice
    model_dir: Path
    model_source: str = Field(
        description="where the model was to come from, as pvc://claim/path; may be empty"
    )
    model_name: str | None
    head_host: str | None = Field(description="name or address that workers reach the head by")
    group: GroupName
    pod_name: str
    pod_ip: str | None
    ports: Ports
    timings: Timings
    token: str | None = Field(repr=False)
    token_file: Path | None
    client_certificate_file: Path | None = None
    client_key_file: Path | None = None
    read_ahead: bool
    wire_check: bool
    warm_restart: bool = True
    shared_memory_min: int = Field(description="MiB")
    scratch: Path | None
    termination_log: Path
    log_level: LogLevel
    log_format: LogFormat = "text"
    cpu_fork: bool
    arguments: tuple[str, ...] = Field(description="what belongs to vLLM, untouched")


def heartbeat_interval(timeout: float) -> float:
    """Seconds between two heartbeats: five fit into the timeout."""
    return timeout / 5


def read_settings(
    role: Role, environment: Mapping[str, str], arguments: tuple[str, ...], hostname: str
) -> Settings:
    """The settings of one pod.

    Args:
        role: head or worker.
        environment: the process's environment.
        arguments: everything after the role on the command line.
        hostname: the name of the pod where the downward API gives none.

    Raises:
        MultinodeError: names the variable that is missing, empty, not a number or out of range.
    """
    read = Variables(environment)
    sizes = _sizes(read, role)
    gpus = read.count(env.REQUEST_GPU_COUNT, None)
    if gpus is None and role == "head" and sizes is not None and env.RAY_NODE_COUNT not in environment:
        gpus = sizes.world // sizes.nodes
    token_file = read.path(env.TOKEN_FILE)
    return Settings(
        role=role,
        sizes=sizes,
        gpus=gpus,
        executor=read.choice(env.EXECUTOR, DEFAULT_EXECUTOR, EXECUTOR_NAMES, ExitCode.EXECUTOR),
        accelerator=read.choice(
            env.ACCELERATOR, "auto", ("auto", "cuda", "rocm", "xpu", "gaudi", "cpu"), ExitCode.VARIABLE
        ),
        model_dir=read.path(env.MODEL_DIR) or Path(MODEL_MOUNT),
        # An annotation that is not there comes as an empty text.
        model_source=environment.get(env.MODEL_SOURCE, "").strip(),
        model_name=read.text(env.MODEL_NAME),
        head_host=_head_host(read, role),
        group=_group_name(read, role),
        pod_name=read.text(env.POD_NAME) or hostname,
        pod_ip=read.address(env.POD_IP),
        ports=_ports(read),
        timings=_timings(read),
        token=_token(token_file),
        token_file=token_file,
        client_certificate_file=read.path(env.CLIENT_CERTIFICATE_FILE),
        client_key_file=read.path(env.CLIENT_KEY_FILE),
        warm_restart=read.switch(env.WARM_RESTART, default=True),
        read_ahead=read.switch(env.READ_AHEAD, default=True),
        wire_check=read.switch(env.WIRE_CHECK, default=True),
        shared_memory_min=read.count(env.SHARED_MEMORY_MIN, 512, least=0),
        scratch=read.path(env.SCRATCH),
        termination_log=read.path(env.TERMINATION_LOG) or Path("/dev/termination-log"),
        log_level=read.choice(
            env.LOG_LEVEL, "info", ("debug", "info", "warning", "error"), ExitCode.VARIABLE
        ),
        log_format=read.choice(env.LOG_FORMAT, "text", ("text", "json"), ExitCode.VARIABLE),
        cpu_fork=read.switch(env.CPU_FORK, default=True),
        arguments=arguments,
    )


def _sizes(read: Variables, role: Role) -> Sizes | None:
    """KServe's, or LeaderWorkerSet's node count with the same TP and PP."""
    if role == "worker" and read.text(env.TENSOR_PARALLEL_SIZE) is None:
        return None
    given_by = "KServe sets it from the workerSpec"
    read.required(env.TENSOR_PARALLEL_SIZE, given_by)
    read.required(env.PIPELINE_PARALLEL_SIZE, given_by)
    tensor_parallel = read.count(env.TENSOR_PARALLEL_SIZE, 1)
    pipeline_parallel = read.count(env.PIPELINE_PARALLEL_SIZE, 1)
    # v0.15.0 sends no node count: there it is PP.
    nodes = read.count(env.LWS_GROUP_SIZE, pipeline_parallel)
    nodes = read.count(env.RAY_NODE_COUNT, nodes)
    return Sizes(tensor_parallel=tensor_parallel, pipeline_parallel=pipeline_parallel, nodes=nodes)


def _head_host(read: Variables, role: Role) -> str | None:
    """The host that workers connect to."""
    if role == "head":
        return None
    leader = read.text(env.LWS_LEADER_ADDRESS)
    if leader is not None:
        return leader
    service = read.required(
        env.HEAD_SVC, "KServe sets it on workers, LeaderWorkerSet sets LWS_LEADER_ADDRESS"
    )
    namespace = read.text(env.POD_NAMESPACE)
    # Not the full name: a cluster's DNS suffix is not always cluster.local.
    return f"{service}.{namespace}.svc" if namespace else service


def _group_name(read: Variables, role: Role) -> GroupName:
    """LeaderWorkerSet's leader address names a group; KServe names service and generation apart."""
    leader = read.text(env.LWS_LEADER_ADDRESS)
    names = (env.INFERENCE_SERVICE_NAME, env.MODEL_NAME) if role == "head" else (env.ISVC_NAME,)
    service = leader or next(filter(None, map(read.text, names)), None)
    return GroupName(namespace=read.text(env.POD_NAMESPACE), service=service, generation=_generation(read))


def _generation(read: Variables) -> str | None:
    """From the downward API where the ServingRuntime asks it, else the end of `<isvc>-head-<generation>`."""
    given = read.text(env.GENERATION)
    if given is not None:
        return given
    service = read.text(env.HEAD_SVC)
    tail = service.rpartition("-head-")[2] if service and "-head-" in service else ""
    return tail or None


def _ports(read: Variables) -> Ports:
    return Ports(
        api=read.port(env.PORT, ports.API),
        supervisor=read.port(env.SUPERVISOR_PORT, ports.SUPERVISOR),
        master=read.port(env.MASTER_PORT, ports.MASTER),
        ray=read.port(env.RAY_PORT, ports.RAY),
        ray_workers=read.port_range(env.RAY_WORKER_PORTS, ports.RAY_WORKERS),
    )


def _timings(read: Variables) -> Timings:
    return Timings(
        heartbeat=read.seconds(env.HEARTBEAT_TIMEOUT, 5, least=0.5),
        head=read.seconds(env.HEAD_TIMEOUT, 600),
        members=read.seconds(env.MEMBER_TIMEOUT, 3600),
        start=read.seconds(env.START_TIMEOUT, 3600),
        model=read.seconds(env.MODEL_TIMEOUT, 0, least=0),
        hang=read.seconds(env.HANG_TIMEOUT, 120, least=1),
        drain=read.seconds(env.DRAIN_TIMEOUT, 20, least=0),
        backoff=read.seconds(env.BACKOFF, 2, least=0),
        stable_after=read.seconds(env.STABLE_AFTER, 300, least=0),
        start_attempts=read.count(env.START_ATTEMPTS, 3),
        recovery_attempts=read.count(env.RECOVERY_ATTEMPTS, 10),
    )


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = read_bounded(path, _LONGEST_TOKEN).decode(errors="replace").strip()
    except OSError as error:
        raise MultinodeError(
            ExitCode.VARIABLE,
            f"{path} cannot be read: {error.strerror}.",
            where=env.TOKEN_FILE,
            hint="Mount the Secret that holds the group's token there.",
        ) from error
    if not token:
        raise MultinodeError(ExitCode.VARIABLE, f"{path} is empty.", where=env.TOKEN_FILE)
    if not (token.isascii() and token.isprintable()):
        # It travels in an HTTP header.
        raise MultinodeError(
            ExitCode.VARIABLE, f"{path} is not one line of printable ASCII.", where=env.TOKEN_FILE
        )
    return token
