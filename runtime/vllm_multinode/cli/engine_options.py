"""Options of `plan` that are the engine's own arguments, under the engine's own names."""

from typing import Annotated, Literal

from vllm_multinode.api.model_source import named_model
from vllm_multinode.cli.declare import Option
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.versions import IMAGE
from vllm_multinode.engines.vllm import vllm_named
from vllm_multinode.sizing.model.sources import Source
from vllm_multinode.sizing.planner.request import Settings
from vllm_multinode.sizing.planner.speculative import Speculation, read_speculation

_PANEL = "The engine's start"

Vllm = Annotated[str, Option("--vllm", help="Its version.", panel=_PANEL)]
TensorParallel = Annotated[int, Option(min=0, help="Only this TP; 0 for any.", panel=_PANEL)]
PipelineParallel = Annotated[int, Option(min=0, help="Only this PP; 0 for any.", panel=_PANEL)]
MaxNumSeqs = Annotated[int, Option(min=0, help="Requests of a step; 0 for its default.", panel=_PANEL)]
MaxNumBatchedTokens = Annotated[int, Option(min=0, help="Tokens of a step; 0 for its default.", panel=_PANEL)]
BlockSize = Annotated[int, Option(min=0, help="Tokens of a cache block; 0 for its choice.", panel=_PANEL)]
EnforceEager = Annotated[bool, Option("--enforce-eager", help="Without CUDA graphs.", panel=_PANEL)]
NoPrefixCaching = Annotated[
    bool, Option("--no-prefix-caching", help="Turn prefix caching off.", panel=_PANEL)
]
LanguageModelOnly = Annotated[bool, Option("--language-model-only", help="Without towers.", panel=_PANEL)]
MmEncoderTpMode = Annotated[
    Literal["weights", "data"],
    Option(help="Split the encoder over TP, or replicate it on every rank.", panel=_PANEL),
]
SpeculativeConfig = Annotated[
    str, Option(help="Speculative decoding, as JSON.", show_default=False, panel=_PANEL)
]

DEFAULT_VLLM = IMAGE


def settings_of(
    source: Source | None,
    *,
    vllm: str,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    block_size: int,
    enforce_eager: bool,
    no_prefix_caching: bool,
    language_model_only: bool,
    mm_encoder_tp_mode: str,
    speculative_config: str,
) -> Settings:
    """The engine's settings, for a model where one was named.

    Raises:
        MultinodeError: USAGE, for an invalid version or speculative configuration.
    """
    speculation = Speculation()
    if speculative_config:
        if source is None:
            what = "--speculative-config is read for a model, and no model was given."
            raise MultinodeError(ExitCode.USAGE, what)
        speculation = read_speculation(speculative_config, source.model, named_model)
    return Settings(
        version=vllm_named(vllm),
        tokens=max_num_batched_tokens,
        requests=max_num_seqs,
        block_size=block_size,
        eager=enforce_eager,
        prefix_caching=not no_prefix_caching,
        text_only=language_model_only,
        whole_towers=mm_encoder_tp_mode == "data",
        speculation=speculation,
    )
