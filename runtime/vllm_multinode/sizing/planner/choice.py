"""One way to cut a model over nodes, and the answer that is made of such."""

from dataclasses import dataclass

from vllm_multinode.sizing.model.splits import Part
from vllm_multinode.sizing.planner.kv_cache import Cache
from vllm_multinode.sizing.planner.memory import Batch, Memory
from vllm_multinode.sizing.planner.request import Request
from vllm_multinode.sizing.planner.rules import Refusal
from vllm_multinode.sizing.planner.speed import Speed


@dataclass(frozen=True)
class Choice:
    """One way to cut the model, and what comes of it.

    Attributes:
        tensor_parallel: TP.
        pipeline_parallel: PP.
        nodes: of one replica.
        gpus_per_node: that it uses of each.
        batch: of one step.
        memory: of the GPU with the least to spare.
        stage: that this GPU works on.
        stages: what every stage loads.
        cache: the layout of the KV cache.
        blocks: that fit on every stage.
        max_context: tokens of each of the requests asked for; 0 where not even one token fits.
        max_concurrency: requests of the context asked for, up to those that one step may hold.
        speed: bounds.
        reason: why one would choose it.
    """

    tensor_parallel: int
    pipeline_parallel: int
    nodes: int
    gpus_per_node: int
    batch: Batch
    memory: Memory
    stage: int
    stages: tuple[Part, ...]
    cache: Cache
    blocks: int
    max_context: int
    max_concurrency: int
    speed: Speed
    reason: str = ""

    @property
    def gpus(self) -> int:
        """Of one replica."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def fits(self) -> bool:
        """Whether weights and the cache asked for have room on every GPU."""
        return self.memory.left >= 0

    @property
    def label(self) -> str:
        """Such as 2 nodes x 8 GPUs (TP 8, PP 2)."""
        nodes = "1 node" if self.nodes == 1 else f"{self.nodes} nodes"
        gpus = "1 GPU" if self.gpus_per_node == 1 else f"{self.gpus_per_node} GPUs"
        return f"{nodes} x {gpus} (TP {self.tensor_parallel}, PP {self.pipeline_parallel})"

    @property
    def crosses(self) -> bool:
        """Whether a TP group spans nodes."""
        return self.tensor_parallel > self.gpus_per_node


@dataclass(frozen=True)
class Plan:
    """The answer.

    Attributes:
        request: what was asked.
        context: tokens of a request that were planned for.
        fits: whether anything does on what there is.
        best: the choice, or where nothing fits the one that comes closest; None where every cut is refused.
        alternatives: other ways that fit.
        smallest: where nothing fits, the fewest nodes that would.
        replicas: of the best choice that the nodes there are can hold.
        checkpoint: bytes of the model's files.
        claim_gib: size for the volume.
        shared_memory_gib: for /dev/shm of each pod.
        refused: cuts that vLLM would refuse, with the rule.
        reasons: sentences about the choice.
        guesses: sentences about what is not known for sure.
    """

    request: Request
    context: int
    fits: bool
    best: Choice | None
    alternatives: tuple[Choice, ...]
    smallest: Choice | None
    replicas: int
    checkpoint: int
    claim_gib: int
    shared_memory_gib: int
    refused: tuple[tuple[str, Refusal], ...]
    reasons: tuple[str, ...]
    guesses: tuple[str, ...]
