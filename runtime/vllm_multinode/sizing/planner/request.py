"""What is asked for: a model on some accelerators."""

from dataclasses import dataclass, field

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.vllm import Vllm, vllm_named
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.catalogue import Accelerator, Shape
from vllm_multinode.sizing.catalogue.records import Family
from vllm_multinode.sizing.model.sources import Source
from vllm_multinode.sizing.planner.kv_cache import KvDtype
from vllm_multinode.sizing.planner.loading import HOPPER, Device
from vllm_multinode.sizing.planner.memory import UTILIZATION
from vllm_multinode.sizing.planner.profiling import GIB, Engine
from vllm_multinode.sizing.planner.speculative import Speculation

GPUS_PER_NODE = 8
# GB/s that a node reads from a claim, where nothing else is known.
CLAIM_GBS = 1.0
# https://docs.vllm.ai/en/latest/getting_started/installation/gpu: "GPU: compute capability 7.0 or higher".
_LEAST_CAPABILITY = 7.0
_MOST_NODES = 1024
_MOST_CONTEXT = 1 << 28
_BITS = 8
_SAME_TOTAL = 0.001


@dataclass(frozen=True, slots=True)
class Gpu:
    """One accelerator.

    Attributes:
        name: as the catalogue has it.
        memory_gib: as an engine sees it.
        bandwidth_gbs: of its memory, GB/s; None for unknown.
        link_gbs: to its peers in the node, one direction, GB/s.
        network_gbs: its share of the node's network, GB/s.
        tflops: dense, in sixteen bits.
        fp8: whether it multiplies FP8; None for unknown.
        capability: CUDA's compute capability; empty for others.
        family: of the catalogue.
        unified: whether its memory is the processor's too.
        resource: the Kubernetes resource that a pod requests; empty for unknown.
        notes: what is unconfirmed.
    """

    name: str
    memory_gib: float
    bandwidth_gbs: float | None = None
    link_gbs: float | None = None
    network_gbs: float | None = None
    tflops: float | None = None
    fp8: bool | None = None
    capability: str = ""
    family: Family = "cuda"
    unified: bool = False
    resource: str = ""
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Its memory."""
        return int(self.memory_gib * GIB)

    @property
    def device(self) -> Device:
        """What an engine's padding and reserve depend on."""
        return Device(self.family, float(self.capability or HOPPER), self.unified)


@dataclass(frozen=True, slots=True)
class Settings:
    """Arguments of the engine that change its memory.

    Attributes:
        version: of vLLM.
        tokens: max_num_batched_tokens; 0 for the engine's default.
        requests: max_num_seqs; 0 for the engine's default.
        block_size: tokens of a block; 0 for the engine's choice.
        eager: --enforce-eager.
        prefix_caching: whether prefixes are kept.
        text_only: --language-model-only.
        whole_towers: --mm-encoder-tp-mode data: every rank has the towers whole.
        speculation: how tokens are guessed ahead.
    """

    version: Vllm = field(default_factory=vllm_named)
    tokens: int = 0
    requests: int = 0
    block_size: int = 0
    eager: bool = False
    prefix_caching: bool = True
    text_only: bool = False
    whole_towers: bool = False
    speculation: Speculation = field(default_factory=Speculation)


@dataclass(frozen=True)
class Request:
    """What to plan.

    Attributes:
        source: the model.
        gpu: the accelerator.
        node_gpus: accelerators of each node there is; empty for as many nodes of gpus_per_node as it takes.
        gpus_per_node: of every node, where node_gpus does not say.
        context: tokens of a request; 0 for the model's own limit.
        concurrency: requests at once.
        kv_dtype: of the cache.
        executor: what spreads the engine.
        utilization: part of a GPU's memory that vLLM may take.
        claim_gbs: GB/s that a node reads from the claim.
        tensor_parallel: the only TP to look at; 0 for any.
        pipeline_parallel: the only PP to look at; 0 for any.
        settings: what else is given to the engine.
        shape: of the nodes, where one was named.
        notes: how the request came to be.
    """

    source: Source
    gpu: Gpu
    node_gpus: tuple[int, ...] = ()
    gpus_per_node: int = GPUS_PER_NODE
    context: int = 0
    concurrency: int = 1
    kv_dtype: KvDtype = "auto"
    executor: ExecutorName = DEFAULT_EXECUTOR
    utilization: float = UTILIZATION
    claim_gbs: float = CLAIM_GBS
    tensor_parallel: int = 0
    pipeline_parallel: int = 0
    settings: Settings = field(default_factory=Settings)
    shape: Shape | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def engine(self) -> Engine:
        """The engine as it is started on this accelerator."""
        one = self.settings
        return Engine(one.version, self.gpu.device, eager=one.eager, text_only=one.text_only)

    def __post_init__(self) -> None:
        bounds = (
            ("gpus per node", min((*self.node_gpus, self.gpus_per_node)), 1, 1 << 12),
            ("gpus per node", max((*self.node_gpus, self.gpus_per_node)), 1, 1 << 12),
            ("nodes", len(self.node_gpus), 0, _MOST_NODES),
            ("context", self.context, 0, _MOST_CONTEXT),
            ("concurrency", self.concurrency, 1, 1 << 24),
            ("utilization", self.utilization, 0.01, 1.0),
            ("tensor parallel size", self.tensor_parallel, 0, 1 << 12),
            ("pipeline parallel size", self.pipeline_parallel, 0, 1 << 12),
            ("max_num_seqs", self.settings.requests, 0, 1 << 24),
            ("max_num_batched_tokens", self.settings.tokens, 0, 1 << 24),
            ("block size", self.settings.block_size, 0, 1 << 16),
            ("claim bandwidth", self.claim_gbs, 1e-6, 1e6),
            ("GPU memory", self.gpu.memory_gib, 0.01, 1 << 20),
        )
        for name, value, least, most in bounds:
            _within(name, value, least, most)


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        what = f"{name} is {value:g}, which is not within {least:g} and {most:g}."
        raise MultinodeError(ExitCode.USAGE, what)


def equal_nodes(count: int, gpus: int) -> tuple[int, ...]:
    """Accelerators of each of count nodes that have gpus each.

    Counts come from other people's files: an impossible one is rejected before a list of its length is built.

    Raises:
        MultinodeError: USAGE, for a count that is not within 0 and 1,024.
    """
    _within("nodes", count, 0, _MOST_NODES)
    return (gpus,) * count


def find_gpu(name: str, memory_gib: float | None = None) -> tuple[Gpu, int | None, tuple[str, ...]]:
    """An accelerator by its name, or by a node shape that has it.

    Args:
        name: of an accelerator or a node shape of the catalogue.
        memory_gib: to take instead of the catalogue's; lets an unknown name pass.

    Returns:
        The accelerator, how many the shape has (None where an accelerator was named), and notes.

    Raises:
        MultinodeError: USAGE, with close matches, for an unknown name; where its memory is unknown.
    """
    facts = catalogue.find("accelerator", name)
    if facts is not None:
        return _from_facts(facts, memory_gib), None, ()
    shape = catalogue.find("shape", name)
    if shape is None:
        if memory_gib is not None:
            note = f"{name} is not in the catalogue: its memory is the given one, its speed is unknown."
            return Gpu(name, memory_gib, notes=(note,)), None, ()
        what = f"The catalogue has no accelerator or node shape {name!r}."
        hint = catalogue.hint(("accelerator", "shape"), name)
        raise MultinodeError(ExitCode.USAGE, what, hint=hint)
    network = shape.network_gbps / _BITS / shape.accelerators if shape.network_gbps else None
    gpu = _from_facts(catalogue.accelerator(shape.accelerator), memory_gib, network)
    return gpu, shape.accelerators, (f"{shape.name} has {shape.accelerators} x {gpu.name}.",)


def _is_driver_total(memory_gib: float, facts: Accelerator) -> bool:
    """Whether it is this card's total as nvidia-smi and node labels give it, which no engine sees."""
    return facts.memory_gib is not None and abs(memory_gib / facts.memory_gib - 1) < _SAME_TOTAL


def _from_facts(facts: Accelerator, memory_gib: float | None, network: float | None = None) -> Gpu:
    capability = facts.compute_capability or ""
    if capability and float(capability) < _LEAST_CAPABILITY:
        what = f"vLLM does not run on {facts.name}: its compute capability is {capability}, not 7.0 or more."
        raise MultinodeError(ExitCode.USAGE, what, hint="Name a newer GPU; `multinode gpus` lists them.")
    memory = facts.engine_memory_gib
    if memory_gib is not None and not _is_driver_total(memory_gib, facts):
        memory = memory_gib
    if memory is None:
        what = f"the catalogue does not know the memory of {facts.name}."
        raise MultinodeError(ExitCode.USAGE, what, hint="Set it with --gpu-memory GIB.")
    return Gpu(
        name=facts.name,
        memory_gib=memory,
        bandwidth_gbs=facts.bandwidth_gbs,
        link_gbs=facts.interconnect_gbs,
        network_gbs=network,
        tflops=facts.bf16_tflops or facts.fp16_tflops,
        fp8=facts.fp8,
        capability=facts.compute_capability or "",
        family=facts.family,
        unified=facts.unified,
        resource=facts.resource,
        notes=tuple(f"{facts.name}: {key} is unconfirmed ({why})." for key, why in facts.unconfirmed.items()),
    )
