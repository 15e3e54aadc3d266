"""Print how KAITO and GPUStack size the cases that they publish, what this package says, and why they differ.

KAITO: examples/inference of kaito-project/kaito, with the formula of pkg/workspace/estimator (commits 0a69b1b
and 3cc8a5b). GPUStack: the cases of tests/policies/candidate_selectors/vllm of gpustack/gpustack (commit
09657f9), whose rule is weights x 1.2 + 2 GiB within 0.9 of the memory.
"""

import math
from dataclasses import dataclass

from vllm_multinode.sizing.model.sources import Source, find_model
from vllm_multinode.sizing.planner.choice import Plan
from vllm_multinode.sizing.planner.kv_cache import kv_cache
from vllm_multinode.sizing.planner.plan import choose
from vllm_multinode.sizing.planner.profiling import GIB
from vllm_multinode.sizing.planner.request import Gpu, Request, find_gpu

_KAITO_DEFAULT_CONTEXT = 2048


@dataclass(frozen=True)
class Case:
    """One published case.

    Attributes:
        model: of the catalogue.
        shape: instance type, or an accelerator with `each` of them in a node.
        stated: what its publisher says or expects, in words.
        context: tokens; KAITO's default where it says none.
        each: accelerators of a node, where the shape does not say.
        utilization: part of the memory.
        why: why the answers differ, where they do.
    """

    model: str
    shape: str
    stated: str
    context: int = _KAITO_DEFAULT_CONTEXT
    each: int = 0
    utilization: float = 0.92
    memory_gib: float | None = None
    why: str = ""


KAITO = (
    Case("Llama-3.3-70B-Instruct", "Standard_NC48ads_A100_v4", "count: 2", 16384, utilization=0.95,
         why="131.4 GiB and 5 GiB of cache fit on two GPUs of 76 GiB each; the example asks for twice that"),
    Case("Llama-3.1-8B-Instruct", "Standard_NC96ads_A100_v4", "1 node", why="one of its four GPUs is enough"),
    Case("Qwen2.5-Coder-32B-Instruct", "Standard_NC24ads_A100_v4", "1 node"),
    Case("Phi-3-medium-128k-instruct", "Standard_NC24ads_A100_v4", "1 node"),
    Case("gpt-oss-120b", "Standard_NC24ads_A100_v4", "1 node"),
    Case("gemma-4-12B-it", "Standard_NC80adis_H100_v5", "1 node", why="one of its two GPUs is enough"),
    Case("Mistral-Small-4-119B-2603", "Standard_NC24ads_A100_v4", "1 node (default)",
         why="110 GiB of weights do not fit one GPU of 80; KAITO raises the count to two as well"),
    # The example's comment says what its authors saw; KAITO ran vLLM with 0.84 of the memory then.
    Case("Mistral-Medium-3.5-128B", "Standard_NC80adis_H100_v5",
         "1 node; vLLM fits about 56K tokens, KAITO said 78592", 49152, utilization=0.84,
         why="KAITO's estimate knew no CUDA graphs and no vision tower; less is left out here"),
    Case("DeepSeek-R1-0528", "Standard_ND96isr_H100_v5", "by its formula",
         why="the same count; KAITO divides the latent cache over a node's GPUs, vLLM copies it"),
    Case("DeepSeek-R1-0528", "Standard_ND96isr_H100_v5", "by its formula", 163840,
         why="10.7 GiB of latent cache are held by every TP rank, where KAITO counts an eighth of them"),
    Case("Nvidia-Nemotron-3-Super-120B-A12B-BF16", "Standard_NC96ads_A100_v4", "by its formula"),
)  # fmt: skip
GPUSTACK = (
    Case("DeepSeek-R1", "H100", "2 nodes, 16 GPUs", each=8, utilization=0.9, context=8192,
         why="the same: its 11 GPUs become whole nodes, because the heads have to divide"),
    Case("DeepSeek-V3.2", "H200", "1 node, 8 GPUs", each=8, utilization=0.9, context=8192,
         why="the same: 128 heads are not divisible by its 7"),
    Case("Qwen3-0.6B", "RTX-4090", "1 GPU", each=1, utilization=0.9, context=8192),
    Case("Qwen3-30B-A3B", "Ascend-910B", "2 NPUs", each=8, utilization=0.9, context=8192, memory_gib=64.0,
         why="56.9 GiB of weights leave 0.7 GiB of 57.6 on one: two of them either way"),
)  # fmt: skip


def planned(case: Case) -> tuple[Plan, Gpu, int]:
    """Our plan, the accelerator, and how many a node has."""
    gpu, in_shape, _ = find_gpu(case.shape, case.memory_gib)
    each = case.each or in_shape or 1
    request = Request(
        find_model(case.model), gpu, gpus_per_node=each, context=case.context, utilization=case.utilization
    )
    return choose(request), gpu, each


def weight_bytes(source: Source) -> float:
    """Bytes of the files."""
    return float(source.published_bytes or source.cut(1).checkpoint)


def kaito(source: Source, gpu: Gpu, each: int, case: Case) -> int:
    """KAITO's count of nodes."""
    available = gpu.bytes * case.utilization
    per_token = sum(kv_cache(source.model, 1, 1).stage_token_bytes)
    reserve = (1.5 if gpu.name == "A10" else 2.3) * GIB + case.context * per_token / each
    gpus = int(weight_bytes(source) * 1.02 / ((available - reserve) / 1.05)) + 1
    return math.ceil(gpus / each)


def gpustack(source: Source, gpu: Gpu, case: Case) -> int:
    """GPUStack's count of GPUs."""
    return math.ceil((weight_bytes(source) * 1.2 + 2 * GIB) / (gpu.bytes * case.utilization))


def ours(plan: Plan) -> str:
    """What this package says, in few words."""
    best = plan.best
    if best is None or not plan.fits:
        return "does not fit"
    return f"{best.label}, {best.max_context} tokens at most"


def main() -> None:
    """Print the table."""
    for title, cases in (("KAITO", KAITO), ("GPUStack", GPUSTACK)):
        print(f"{title}: model, nodes, context | stated | by its formula | here")
        for case in cases:
            plan, gpu, each = planned(case)
            source = plan.request.source
            if title == "KAITO":
                theirs = f"{kaito(source, gpu, each, case)} x {each}"
            else:
                theirs = f"{gpustack(source, gpu, case)} GPUs"
            print(f"- {case.model}, {case.shape}, {case.context} | {case.stated} | {theirs} | {ours(plan)}")
            if case.why:
                print(f"    {case.why}.")
        print()


if __name__ == "__main__":
    main()
