"""`multinode plan`: from a model and some GPUs to sizes."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import click

from vllm_multinode.api.model_source import named_model
from vllm_multinode.cli import completions
from vllm_multinode.cli.aside import aside, fitted
from vllm_multinode.cli.declare import Argument, Option
from vllm_multinode.cli.engine_options import (
    DEFAULT_VLLM,
    BlockSize,
    EnforceEager,
    LanguageModelOnly,
    MaxNumBatchedTokens,
    MaxNumSeqs,
    MmEncoderTpMode,
    NoPrefixCaching,
    PipelineParallel,
    SpeculativeConfig,
    TensorParallel,
    Vllm,
    settings_of,
)
from vllm_multinode.cli.platform_options import Kserve, Platform, chosen
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.numbers import whole
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.model.sources import Source
from vllm_multinode.sizing.planner.choice import Plan
from vllm_multinode.sizing.planner.explain import explain as explained
from vllm_multinode.sizing.planner.kv_cache import KvDtype
from vllm_multinode.sizing.planner.memory import UTILIZATION, Verdict
from vllm_multinode.sizing.planner.plan import choose, preferred
from vllm_multinode.sizing.planner.report import as_object, as_text
from vllm_multinode.sizing.planner.request import (
    CLAIM_GBS,
    GPUS_PER_NODE,
    Gpu,
    Request,
    Settings,
    equal_nodes,
    find_gpu,
)

if TYPE_CHECKING:
    from vllm_multinode.cluster.offers import Offer

Output = Literal["text", "json", "yaml", "spec"]
_CODES: Final[Mapping[Verdict, ExitCode]] = {
    "fits": ExitCode.OK,
    "within-error": ExitCode.WITHIN_ERROR,
    "does-not-fit": ExitCode.DOES_NOT_FIT,
}


@dataclass(frozen=True)
class Wishes:
    """What is asked for, whatever the accelerators are."""

    context: int
    concurrency: int
    kv_dtype: KvDtype
    executor: ExecutorName
    utilization: float
    claim_gbs: float
    tensor_parallel: int
    pipeline_parallel: int
    settings: Settings

    def request(self, source: Source, **of_nodes: Any) -> Request:
        """The request for some accelerators."""
        return Request(source=source, **vars(self), **of_nodes)


def plan(
    model: Annotated[
        str,
        Argument(
            help="A folder, a config.json, hf://org/name[@revision], or a name of the catalogue.",
            show_default=False,
            complete=completions.models,
        ),
    ] = "",
    *,
    gpu: Annotated[
        str,
        Option(
            help="An accelerator, or a node shape such as p5.48xlarge.",
            show_default=False,
            complete=completions.gpus,
        ),
    ] = "",
    gpus_per_node: Annotated[
        str, Option(help="GPUs of a node; a list (8,8,4) for nodes that differ.", show_default=False)
    ] = "",
    nodes: Annotated[
        int | None, Option(min=1, max=1024, help="Number of nodes available; any number by default.")
    ] = None,
    from_cluster: Annotated[
        bool, Option("--from-cluster", help="Plan for the free GPUs of the cluster's nodes.")
    ] = False,
    context: Annotated[int, Option(min=0, help="Tokens of a request; 0 for the model's limit.")] = 0,
    concurrency: Annotated[int, Option(min=1, help="Requests at once.")] = 1,
    kv_dtype: Annotated[KvDtype, Option(help="Of the KV cache.")] = "auto",
    executor: Annotated[
        ExecutorName, Option(help="Executor that runs the engine over the nodes.")
    ] = DEFAULT_EXECUTOR,
    gpu_memory: Annotated[float | None, Option(help="GiB of a GPU, instead of the catalogue's.")] = None,
    utilization: Annotated[float, Option(help="Fraction of it that vLLM may use.")] = UTILIZATION,
    claim_bandwidth: Annotated[float, Option(help="GB/s that a node reads from the claim.")] = CLAIM_GBS,
    vllm: Vllm = DEFAULT_VLLM,
    tensor_parallel: TensorParallel = 0,
    pipeline_parallel: PipelineParallel = 0,
    max_num_seqs: MaxNumSeqs = 0,
    max_num_batched_tokens: MaxNumBatchedTokens = 0,
    block_size: BlockSize = 0,
    enforce_eager: EnforceEager = False,
    no_prefix_caching: NoPrefixCaching = False,
    language_model_only: LanguageModelOnly = False,
    mm_encoder_tp_mode: MmEncoderTpMode = "weights",
    speculative_config: SpeculativeConfig = "",
    against: Annotated[
        str,
        Option(
            help="An engine's log to compare the plan with; - for stdin.",
            show_default=False,
            complete=completions.files,
        ),
    ] = "",
    explain: Annotated[bool, Option("--explain", help="Print every formula with its numbers.")] = False,
    output: Annotated[
        Output, Option("--output", "-o", help="Output format; spec is the input of `render`.")
    ] = "text",
    name: Annotated[str, Option(help="-o spec: the service; the model's name by default.")] = "",
    claim: Annotated[
        str,
        Option(help="-o spec: the claim that holds the model, instead of one filled from the hub."),
    ] = "",
    path: Annotated[
        str | None, Option(help="-o spec: the model's folder in it; its name by default.")
    ] = None,
    platform: Platform = None,
    kserve: Kserve = None,
    tolerate: Annotated[
        list[str] | None, Option(help="--from-cluster: also use nodes with this taint; repeatable.")
    ] = None,
    selector: Annotated[
        list[str] | None,
        Option(
            "--selector",
            "-l",
            help="--from-cluster: only nodes with these labels (KEY=VALUE, by commas or repeated); "
            "--nodes uses that many of them.",
        ),
    ] = None,
    kubeconfig: Annotated[
        str,
        Option(
            help="--from-cluster: instead of KUBECONFIG and ~/.kube/config.",
            show_default=False,
            complete=completions.files,
        ),
    ] = "",
    kube_context: Annotated[
        str, Option(help="--from-cluster: context of the kubeconfig.", show_default=False)
    ] = "",
) -> int:
    """Work out how many nodes a model needs, and which TP and PP.

    Exit code 3 where nothing fits, 8 where that lies within the estimate's error.

    multinode plan llama-3.1-405b-instruct --gpu H100-SXM --gpus-per-node 8

    multinode plan deepseek-r1 --gpu p5.48xlarge --context 32768 -o spec
    """
    source, found = named_model(model) if model else None, None
    settings = settings_of(
        source, vllm=vllm, max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens,
        block_size=block_size, enforce_eager=enforce_eager, no_prefix_caching=no_prefix_caching,
        language_model_only=language_model_only, mm_encoder_tp_mode=mm_encoder_tp_mode,
        speculative_config=speculative_config,
    )  # fmt: skip
    wishes = Wishes(
        context, concurrency, kv_dtype, executor, utilization, claim_bandwidth, tensor_parallel,
        pipeline_parallel, settings,
    )  # fmt: skip
    if against:
        from vllm_multinode.cli.against import hold_against

        def given(named: Source, accelerator: Gpu) -> Request:
            return wishes.request(named, gpu=accelerator)

        shown = hold_against(against, model=model, gpu=gpu, gpu_memory=gpu_memory, given=given, output=output)
        click.echo(fitted(shown, sys.stdout) if output == "text" else shown, nl=False)
        return ExitCode.OK
    if source is None:
        raise MultinodeError(
            ExitCode.USAGE, "No model is given.", hint="`multinode models` lists the catalogue."
        )
    pool = _pool(selector or (), from_cluster)
    if from_cluster:
        if gpus_per_node:
            what = "--from-cluster counts the nodes' GPUs itself; --gpus-per-node contradicts it."
            raise MultinodeError(ExitCode.USAGE, what)
        found = cluster_offers(kubeconfig, kube_context, tolerate or (), gpu, gpu_memory, pool, nodes)
        made = [choose(of_offer(wishes, source, offer)) for offer in found]
    elif gpu:
        made = [choose(of_options(wishes, source, gpu, gpu_memory, gpus_per_node, nodes))]
    else:
        raise MultinodeError(ExitCode.USAGE, "No GPU is given.", hint="Give --gpu TYPE, or --from-cluster.")
    order = sorted(range(len(made)), key=lambda number: preferred(made[number]))
    plans = [made[number] for number in order]
    if output == "spec":
        from vllm_multinode.authoring.planned import spec_of, spec_text
        from vllm_multinode.authoring.render.releases import remarks

        offer = found[order[0]] if found else None
        spec = spec_of(
            _named(plans[0], model), name=name, claim=claim, path=path,
            product=offer.product if offer else "", taints=offer.taints if offer else (),
            pool=pool, pool_nodes=nodes, speculative=speculative_config,
        )  # fmt: skip
        click.echo(spec_text(spec, plans[0]), nl=False)
        for remark in remarks(spec, chosen(platform, kserve)):
            aside(f"note: {remark}")
    else:
        shown = _shown(output, plans)
        click.echo(fitted(shown, sys.stdout) if output == "text" else shown, nl=False)
    if explain:
        stream = sys.stdout if output == "text" else sys.stderr
        click.echo(fitted(f"\n{explained(plans[0])}", stream), file=stream, nl=False)
    return _CODES[plans[0].verdict]


def _pool(selector: "list[str] | tuple[()]", from_cluster: bool) -> dict[str, str]:
    if not selector:
        return {}
    from vllm_multinode.cli.selector import labels_of

    pool = labels_of(selector)
    if not from_cluster:
        raise MultinodeError(
            ExitCode.USAGE, "--selector chooses among a cluster's nodes: give --from-cluster."
        )
    return pool


def cluster_offers(
    kubeconfig: str,
    context: str,
    tolerated: "list[str] | tuple[()]",
    gpu: str,
    gpu_memory: float | None,
    pool: Mapping[str, str] | None = None,
    most: int | None = None,
) -> "list[Offer]":
    """What the cluster's nodes have free, a kind of accelerator at a time."""
    from vllm_multinode.cluster.client import Cluster
    from vllm_multinode.cluster.nodes import gpu_nodes
    from vllm_multinode.cluster.offers import offers

    with Cluster.connect(kubeconfig=kubeconfig, context=context) as cluster:
        nodes, notes = gpu_nodes(cluster, tolerated, pool)
    return [replace(one, notes=(*one.notes, *notes)) for one in offers(nodes, gpu, gpu_memory, most)]


def of_offer(wishes: Wishes, source: Source, offer: "Offer") -> Request:
    """What is asked for, of the nodes that a cluster has."""
    each = max(offer.node_gpus)
    return wishes.request(
        source, gpu=offer.gpu, node_gpus=offer.node_gpus, gpus_per_node=each, notes=offer.notes
    )


def of_options(
    wishes: Wishes, source: Source, gpu: str, gpu_memory: float | None, gpus_per_node: str, nodes: int | None
) -> Request:
    """What is asked for, of the nodes that the options name.

    Raises:
        MultinodeError: USAGE, for counts that contradict each other or an accelerator that nobody knows.
    """
    accelerator, in_shape, notes = find_gpu(gpu, gpu_memory)
    counts = _counts(gpus_per_node)
    each = counts[0] if counts else in_shape or GPUS_PER_NODE
    if not counts and in_shape is None:
        notes = (*notes, f"{each} GPUs per node are assumed; set --gpus-per-node for others.")
    if len(counts) > 1 and nodes is not None and nodes != len(counts):
        raise MultinodeError(
            ExitCode.USAGE, f"--gpus-per-node lists {len(counts)} nodes, --nodes says {nodes}."
        )
    node_gpus = counts if len(counts) > 1 else equal_nodes(nodes or 0, each)
    shape = None if in_shape is None else catalogue.shape(gpu)
    return wishes.request(
        source, gpu=accelerator, node_gpus=node_gpus, gpus_per_node=each, shape=shape, notes=notes
    )


def _counts(given: str) -> tuple[int, ...]:
    """GPUs of each node, from "8" or "8,8,4"."""
    if not given:
        return ()
    try:
        counts = tuple(whole(part) for part in given.split(","))
    except ValueError:
        counts = (0,)
    if min(counts) < 1:
        raise MultinodeError(
            ExitCode.USAGE, f"--gpus-per-node {given!r} is not a number of GPUs nor a list of such."
        )
    return counts


def _named(made: Plan, model: str) -> Plan:
    """The plan under the folder's own name, where the folder was named by `.` or the like."""
    if not Path(model).exists():
        return made
    return replace(
        made,
        request=replace(made.request, source=replace(made.request.source, name=str(Path(model).resolve()))),
    )


def _shown(output: Output, plans: list[Plan]) -> str:
    """The best plan, with those for other accelerators behind it."""
    if output == "text":
        return "\n".join(map(as_text, plans))
    found = as_object(plans[0])
    if len(plans) > 1:
        found["other_gpus"] = [as_object(other) for other in plans[1:]]
    if output == "json":
        return json.dumps(found, indent=2) + "\n"
    import yaml

    return yaml.safe_dump(found, sort_keys=False)
