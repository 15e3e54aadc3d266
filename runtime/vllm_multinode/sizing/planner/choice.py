"""One way to cut a model over nodes, and the answer that is made of such."""

from dataclasses import dataclass

from vllm_multinode.engines.vllm import Vllm
from vllm_multinode.sizing.model.splits import Part
from vllm_multinode.sizing.planner.kv_cache import Cache
from vllm_multinode.sizing.planner.memory import Memory, Verdict
from vllm_multinode.sizing.planner.profiling import Batch
from vllm_multinode.sizing.planner.request import Request
from vllm_multinode.sizing.planner.rules import Refusal
from vllm_multinode.sizing.planner.speed import Speed


def is_power_of_two(count: int) -> bool:
    """Whether it is 1, 2, 4, 8 and so on: what TP divides by, and what nodes mostly have."""
    return count > 0 and count & (count - 1) == 0


@dataclass(frozen=True)
class Choice:
    """One way to cut the model, and what comes of it.

    Attributes:
        tensor_parallel: TP.
        pipeline_parallel: PP.
        nodes: of one replica.
        gpus_per_node: that it uses of each.
        batch: of one step.
        memories: of a GPU of every stage.
        stage: the one with the least to spare.
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
    memories: tuple[Memory, ...]
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
    def memory(self) -> Memory:
        """Of the GPU with the least to spare."""
        return self.memories[self.stage]

    @property
    def fits(self) -> bool:
        """Whether weights and the cache asked for have room on every GPU, going by the estimate alone."""
        return self.memory.left >= 0

    @property
    def verdict(self) -> Verdict:
        """Whether that holds with more to spare than the estimate may be wrong."""
        return self.memory.verdict

    @property
    def sure_blocks(self) -> int:
        """Blocks that fit on every stage even where the estimate errs as far as it may."""
        sizes = zip(self.memories, self.cache.stage_block_bytes, strict=True)
        return max(0, min((one.surely_available // size for one, size in sizes if size), default=0))

    def engine_tokens(self, version: Vllm, context: int, *, surely: bool = False) -> int:
        """What the engine calls "GPU KV cache size" for requests of so many tokens at most.

        Args:
            version: of the engine.
            context: tokens of a request.
            surely: at least, with what is there even where the estimate errs as far as it may.
        """
        blocks = self.sure_blocks if surely else self.blocks
        if not self.cache.groups or blocks <= 0:
            return 0
        if version.counts_tokens_by_requests:
            return int(self._requests_in(blocks, context) * context)
        block = min((page.tokens for page in self.cache.groups if page.tokens), default=0)
        return blocks // len(self.cache.groups) * block

    def engine_concurrency(self, context: int) -> float:
        """What the engine calls "Maximum concurrency" for requests of so many tokens."""
        return self._requests_in(self.blocks, context)

    def _requests_in(self, blocks: int, context: int) -> float:
        held = self.cache.counted_blocks(context)
        return blocks / held if held else 0.0

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
        best: the choice, or where nothing fits the one that comes closest; None where every cut is rejected.
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

    @property
    def verdict(self) -> Verdict:
        """Of the best."""
        return self.best.verdict if self.best else "does-not-fit"

    @property
    def fits(self) -> bool:
        """Whether the estimate says that anything fits on what there is; the verdict says how surely."""
        return self.best is not None and self.best.fits
