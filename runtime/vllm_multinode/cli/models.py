"""`multinode models`: the models of the catalogue at a glance."""

from typing import Annotated, Final

import click

from vllm_multinode.cli import completions
from vllm_multinode.cli.answer import OutputFormat, as_json
from vllm_multinode.cli.aside import aside
from vllm_multinode.cli.declare import Argument, Option
from vllm_multinode.cli.table import Table, terminal_width, widest
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing import catalogue
from vllm_multinode.sizing.planner.overview import CONTEXT, ModelLine, gpus_asked, model_lines, shape_of

_USUAL: Final = ("H100", "H200")
_DEPLOYMENT_WIDTH: Final = len("2x8 TP 8 PP 2~")
_LEGEND: Final = (
    "Deployments: nodes x GPUs for one request of {context} tokens, ~ within the estimate's error. "
    "* a figure is unconfirmed. `multinode plan` has the rest."
)


def models(
    search: Annotated[
        list[str] | None,
        Argument(
            help="Parts of the name; all models by default.", show_default=False, complete=completions.models
        ),
    ] = None,
    *,
    gpu: Annotated[
        list[str] | None,
        Option(
            help="Show the smallest deployment on this GPU; repeatable. H100 and H200 by default.",
            complete=completions.gpus,
        ),
    ] = None,
    context: Annotated[int, Option(min=1, help="Tokens per request.")] = CONTEXT,
    output: OutputFormat = "text",
) -> int:
    """List the models of the catalogue: size, context and the smallest deployments.

    multinode models llama 405b

    multinode models deepseek --gpu H200 --gpu MI300X -o json
    """
    wanted = " ".join(search or ())
    names = catalogue.search("model", wanted)
    if not names:
        what = f"The catalogue has no model like {wanted!r}."
        raise MultinodeError(ExitCode.USAGE, what, hint=catalogue.hint(("model",), wanted))
    titles = gpu or list(_USUAL)
    gpus = gpus_asked(titles)
    lines = model_lines(names, gpus, context)
    if output == "json":
        objects = [line.as_object([one for one, _ in gpus]) for line in lines]
        click.echo(as_json(objects))
        return ExitCode.OK
    limit = terminal_width()
    titles = ["MODEL", ">PARAMS", ">WEIGHTS", ">CONTEXT", *titles]
    figures = [6, 9, 7, *(_DEPLOYMENT_WIDTH for _ in gpus)]
    # An id's last part is a name of the model too.
    whole = limit is None or Table(titles, [widest(names), *figures], None).width <= limit
    shown = {name: name if whole else name.rpartition("/")[2] for name in names}
    table = Table(titles, [widest(shown.values()) + 1, *figures], limit)
    table.head()
    for line in lines:
        table.line(_cells(shown[line.name], line))
    aside(_LEGEND.format(context=context))
    return ExitCode.OK


def _cells(name: str, line: ModelLine) -> list[str]:
    size = line.weight_bytes / (1 << 30)
    return [
        name + ("*" if line.unconfirmed else ""),
        _count(line.parameters),
        f"{size:.1f} GiB" if size < 100 else f"{size:.0f} GiB",
        f"{line.context >> 10}K" if line.context else "-",
        *map(shape_of, line.deployments),
    ]


def _count(number: int) -> str:
    billions = number / 1e9
    if billions >= 1000:
        return f"{billions / 1000:.2f}T"
    return f"{billions:.0f}B" if billions >= 100 else f"{billions:.1f}B"
