"""`multinode gpus`: the accelerators and node shapes of the catalogue at a glance."""

from collections.abc import Sequence
from typing import Annotated, Any

import click

from vllm_multinode.cli import completions
from vllm_multinode.cli.answer import OutputFormat, as_json
from vllm_multinode.cli.declare import Argument
from vllm_multinode.cli.table import Table, terminal_width, widest
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.catalogue import Accelerator, Shape


def gpus(
    search: Annotated[
        list[str] | None,
        Argument(
            help="Parts of a GPU's, a label's or a node shape's name.",
            show_default=False,
            complete=completions.gpus,
        ),
    ] = None,
    *,
    output: OutputFormat = "text",
) -> int:
    """List the GPUs of the catalogue: memory, label of their nodes, and node shapes.

    multinode gpus

    multinode gpus p5.48xlarge -o json
    """
    wanted = " ".join(search or ())
    every = [catalogue.shape(name) for name in catalogue.names("shape")]
    asked = [catalogue.shape(name) for name in catalogue.search("shape", wanted)] if wanted.strip() else []
    by_name = catalogue.search("accelerator", wanted)
    # Somebody who names a node shape wants to know what is in it.
    named = dict.fromkeys((*by_name, *(catalogue.accelerator(one.accelerator).name for one in asked)))
    accelerators = [catalogue.accelerator(name) for name in named]
    if not accelerators:
        what = f"The catalogue has no GPU or node shape like {wanted!r}."
        hint = catalogue.hint(("accelerator", "shape"), wanted)
        raise MultinodeError(ExitCode.USAGE, what, hint=hint)
    shapes = {one.name: [shape for shape in every if shape.accelerator == one.name] for one in accelerators}
    if output == "json":
        click.echo(as_json([_object(one, shapes[one.name]) for one in accelerators]))
        return ExitCode.OK
    _accelerators(accelerators, shapes)
    detailed = {one.name: one for one in (*asked, *(one for name in by_name for one in shapes[name]))}
    if wanted.strip() and detailed:
        click.echo()
        _shapes(list(detailed.values()))
    return ExitCode.OK


def _accelerators(found: Sequence[Accelerator], shapes: dict[str, list[Shape]]) -> None:
    rows = [
        (
            one.name,
            _figure(one.engine_memory_gib, " GiB"),
            ", ".join(one.products) or "-",
            ", ".join(f"{shape.name} ({shape.accelerators})" for shape in shapes[one.name]) or "-",
        )
        for one in found
    ]
    limit = terminal_width()
    widths = [widest(row[column] for row in rows) for column in range(4)]
    if limit is not None:
        # The label keeps what it needs, and the shapes take what is left.
        widths[3] = max(len("NODE SHAPES (GPUS)"), min(widths[3], limit - sum(widths[:3]) - 6))
    table = Table(["GPU", ">MEMORY", "LABEL", "NODE SHAPES (GPUS)"], widths, limit)
    table.head()
    for row in rows:
        table.line(row)


def _shapes(found: Sequence[Shape]) -> None:
    rows = [
        (
            shape.name,
            f"{shape.accelerators} x {shape.accelerator}",
            _figure(shape.memory_gib, " GiB"),
            _figure(shape.vcpus),
            _figure(shape.network_gbps, " Gb/s"),
            "yes" if shape.rdma else "no",
        )
        for shape in found
    ]
    widths = [widest(row[column] for row in rows) for column in range(6)]
    titles = ["NODE SHAPE", "GPUS", ">MEMORY", ">VCPUS", ">NETWORK", "RDMA"]
    table = Table(titles, widths, terminal_width())
    table.head()
    for row in rows:
        table.line(row)


def _figure(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.4g}{unit}"


def _object(one: Accelerator, shapes: Sequence[Shape]) -> dict[str, Any]:
    return {
        "gpu": one.name,
        "aliases": list(one.aliases),
        "vendor": one.vendor,
        "memory_gib": one.engine_memory_gib and round(one.engine_memory_gib, 2),
        "bandwidth_gbs": one.bandwidth_gbs,
        "products": list(one.products),
        "resource": one.resource,
        "unconfirmed": sorted(one.unconfirmed),
        "shapes": [
            {
                "shape": shape.name, "provider": shape.provider, "gpus": shape.accelerators,
                "memory_gib": shape.memory_gib, "vcpus": shape.vcpus, "network_gbps": shape.network_gbps,
                "rdma": shape.rdma,
            }
            for shape in shapes
        ],
    }  # fmt: skip
