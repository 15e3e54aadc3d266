"""`multinode plan`: from a model and some GPUs to sizes."""

import json
from typing import Annotated, Literal

import typer

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.explain import explain as explained
from vllm_multinode.sizing.kv_cache import KvDtype
from vllm_multinode.sizing.memory import UTILIZATION
from vllm_multinode.sizing.plan import choose
from vllm_multinode.sizing.report import as_object, as_text
from vllm_multinode.sizing.request import GPUS_PER_NODE, Executor, Request, find_gpu
from vllm_multinode.sizing.sources import find_model

Output = Literal["text", "json", "yaml"]


def plan(
    model: Annotated[str, typer.Argument(help="A model folder, a config.json, or a name of the catalogue.")],
    gpu: Annotated[str, typer.Option(help="An accelerator, or a node shape such as p5.48xlarge.")],
    *,
    gpus_per_node: Annotated[
        str, typer.Option(help="GPUs of a node; a list (8,8,4) for nodes that differ.")
    ] = "",
    nodes: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Nodes there are; any number by default.")
    ] = None,
    context: Annotated[
        int, typer.Option(min=0, help="Tokens of a request; the model's limit by default.")
    ] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 1,
    kv_dtype: Annotated[KvDtype, typer.Option(help="Of the KV cache.")] = "auto",
    executor: Annotated[Executor, typer.Option(help="What spreads the engine over the nodes.")] = "ray",
    gpu_memory: Annotated[
        float | None, typer.Option(help="GiB of a GPU, instead of the catalogue's.")
    ] = None,
    utilization: Annotated[float, typer.Option(help="Part of it that vLLM may take.")] = UTILIZATION,
    claim_bandwidth: Annotated[float, typer.Option(help="GB/s that a node reads from the claim.")] = 1.0,
    explain: Annotated[bool, typer.Option("--explain", help="Print every formula with its numbers.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="How to print the plan.")] = "text",
) -> int:
    """Say how many nodes a model needs, and which TP and PP; exit code 3 where nothing fits."""
    accelerator, in_shape, notes = find_gpu(gpu, gpu_memory)
    counts = _counts(gpus_per_node)
    each = counts[0] if counts else in_shape or GPUS_PER_NODE
    if not counts and in_shape is None:
        notes = (*notes, f"{each} GPUs a node are taken; --gpus-per-node says otherwise.")
    if len(counts) > 1 and nodes is not None and nodes != len(counts):
        raise MultinodeError(
            ExitCode.USAGE, f"--gpus-per-node lists {len(counts)} nodes, --nodes says {nodes}."
        )
    made = choose(
        Request(
            source=find_model(model),
            gpu=accelerator,
            node_gpus=counts if len(counts) > 1 else (each,) * (nodes or 0),
            gpus_per_node=each,
            context=context,
            concurrency=concurrency,
            kv_dtype=kv_dtype,
            executor=executor,
            utilization=utilization,
            claim_gbs=claim_bandwidth,
            notes=notes,
        )
    )
    typer.echo(_shown(output, as_object(made)) if output != "text" else as_text(made), nl=False)
    if explain:
        typer.echo(f"\n{explained(made)}", nl=False, err=output != "text")
    return ExitCode.OK if made.fits else ExitCode.DOES_NOT_FIT


def _counts(given: str) -> tuple[int, ...]:
    """GPUs of each node, from "8" or "8,8,4"."""
    if not given:
        return ()
    try:
        counts = tuple(int(part) for part in given.split(","))
    except ValueError:
        counts = (0,)
    if min(counts) < 1:
        raise MultinodeError(
            ExitCode.USAGE, f"--gpus-per-node {given!r} is no number of GPUs nor a list of such."
        )
    return counts


def _shown(output: Output, found: object) -> str:
    if output == "json":
        return json.dumps(found, indent=2) + "\n"
    import yaml

    return yaml.safe_dump(found, sort_keys=False)
