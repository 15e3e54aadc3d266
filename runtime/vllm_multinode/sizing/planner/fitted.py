"""Constants that no source tells: fitted to published start logs.

Rather too large than too small: what a plan promises too much counts three times as much as what it promises
too little. `scripts/crossvalidate` refits them without one family of models after the other and says how far
plans for that family are off.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


def _by_ranks(**gib: float) -> Mapping[int, float]:
    return MappingProxyType({int(name.removeprefix("tp")): value for name, value in gib.items()})


@dataclass(frozen=True, slots=True)
class Fitted:
    """GiB on one rank where nothing else is said; tables go by TP.

    Attributes:
        runtime: what CUDA and its libraries take beside torch.
        runtime_of_stages: the same on a pipeline's stage without TP.
        all_reduce: NCCL's buffers and the workspaces of custom all-reduce, the runtime included.
        fused_all_reduce: the same with those of fused all-reduce.
        rocm_runtime: what HIP and its libraries take.
        rocm_all_reduce: the same with RCCL's.
        rocm_uneven: by which one rank has less than the first, whose memory is logged; tokens follow it.
        unified: the engine's own processes, where the processor's memory is the GPU's.
        graphs: of a capture of CUDA graphs.
        graphs_of_layer: for each layer.
        graphs_of_latent_layer: for each layer of latent attention.
        rocm_graphs: how many times as much ROCm takes.
        unified_graphs: the same where the processor's memory is the GPU's.
        sorted_sampling: bytes for each number of the vocabulary of each request, where the sampler sorts:
            logits in 2 and 4, sorted values and indices in 4 and 8, softmax, sums, and what is put back.
        sampling: the same where it masks in place: logits, their copy in 4, probabilities, and noise.
        stream: vectors of the model's width that live while the widest block runs.
        handed_on: the same for what stages hand on.
        workspace: of cuBLAS, 32 MiB on Hopper, and what is small.
    """

    runtime: float = 0.25
    runtime_of_stages: float = 0.07
    all_reduce: Mapping[int, float] = field(default_factory=lambda: _by_ranks(tp2=0.55, tp4=0.8, tp8=1.15))
    fused_all_reduce: Mapping[int, float] = field(
        default_factory=lambda: _by_ranks(tp2=2.07, tp4=2.17, tp8=2.45)
    )
    rocm_runtime: float = 1.4
    rocm_all_reduce: Mapping[int, float] = field(default_factory=lambda: _by_ranks(tp2=1.6, tp4=2.0, tp8=4.1))
    rocm_uneven: Mapping[int, float] = field(default_factory=lambda: _by_ranks(tp8=0.43))
    unified: float = 9.6
    graphs: float = 0.3
    graphs_of_layer: float = 0.015
    graphs_of_latent_layer: float = 0.022
    rocm_graphs: float = 3.5
    unified_graphs: float = 4.0
    sorted_sampling: float = 38
    sampling: float = 14
    stream: float = 3.5
    handed_on: float = 2.0
    workspace: float = 0.05


FITTED = Fitted()
