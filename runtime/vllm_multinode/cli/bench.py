"""`multinode bench`: latency under load, and what its shape means."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from vllm_multinode.cli.answer import OutputFormat, as_json
from vllm_multinode.cli.cluster_options import Context, Kubeconfig, Login, LoginSource, Namespace, say
from vllm_multinode.cli.declare import QUIET, Argument, Option
from vllm_multinode.cli.service_options import Local, source
from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.numbers import is_count

if TYPE_CHECKING:
    from vllm_multinode.operate.bench.result import BenchResult
    from vllm_multinode.operate.bench.target import Target


def bench(
    target: Annotated[
        str,
        Argument(
            metavar="[NAME|URL]",
            help="A service as in `status`, a run with --local, or the URL of any OpenAI API.",
            show_default=False,
        ),
    ] = "",
    *,
    local: Local = False,
    concurrency: Annotated[
        str, Option(help="Concurrent requests, one run for each, such as 1,2,4,8.")
    ] = "1,2,4,8,16",
    input_tokens: Annotated[int, Option(min=1, max=1_000_000, help="Of each prompt.")] = 256,
    output_tokens: Annotated[int, Option(min=1, max=100_000, help="Of each answer.")] = 64,
    seconds: Annotated[float, Option(min=1, max=86400, help="Limit for the whole run.")] = 300,
    rung_seconds: Annotated[float, Option(min=1, max=3600, help="Target duration of each concurrency.")] = 20,
    requests: Annotated[int, Option(min=1, max=1_000_000, help="At most, of all rungs.")] = 5000,
    url: Annotated[
        str, Option(help="Send the load to this URL, such as a Route or router; read the counters from NAME.")
    ] = "",
    metrics: Annotated[
        list[str] | None,
        Option(help="With a URL: address of an engine behind it, for its /metrics; repeatable."),
    ] = None,
    model: Annotated[str, Option(help="The model, if several are served.")] = "",
    tokenizer: Annotated[
        str, Option(help="Folder or hub name; the run's or the service's own by default, if known.")
    ] = "",
    vllm: Annotated[
        str, Option(help="The vllm program; by default the one next to this Python, or on PATH.")
    ] = "",
    out: Annotated[Path | None, Option(help="Folder for the results; bench-NAME-TIME by default.")] = None,
    compare: Annotated[Path | None, Option(help="An earlier result.json: show what changed.")] = None,
    output: OutputFormat = "text",
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    login: Login = "kubeconfig",
) -> int:
    """Measure latency under load with `vllm bench serve`, and find what limits the service.

    multinode bench llama -n models --tokenizer meta-llama/Llama-3.1-8B

    multinode bench --local --concurrency 1,4,16 --compare bench-llm-20260101-120000/result.json
    """
    from vllm_multinode.operate.bench.files import RESULT, new_folder, write
    from vllm_multinode.operate.bench.ladder import Bounds, Ladder
    from vllm_multinode.operate.bench.result import Load, read_result
    from vllm_multinode.operate.bench.tables import as_text, changes, compared
    from vllm_multinode.operate.bench.target import models_of
    from vllm_multinode.operate.bench.tool import Tool, find_vllm
    from vllm_multinode.operate.written import text_of

    rungs = _rungs(concurrency)
    before = None if compare is None else read_result(text_of(compare), str(compare))
    python = find_vllm(vllm)
    with ExitStack() as ends:
        ends.enter_context(_termination_is_an_interrupt())
        place = ends.enter_context(
            _target(
                target,
                local=local,
                url=url,
                metrics=metrics or [],
                cluster=(namespace, context, kubeconfig, login),
            )
        )
        asked = _model(models_of(place.url, place.key), model, place.url)
        tokens = _tokenizer(tokenizer or place.tokenizer)
        folder = new_folder(out, _slug(target or place.title))
        progress = _progress if output == "text" else _silent
        tool = ends.enter_context(Tool(python, folder, place.key))
        progress("loading vLLM's benchmark")
        tool.wait_until_loaded()
        ladder = Ladder(
            place,
            tool,
            asked,
            tokens,
            Load(input_tokens=input_tokens, output_tokens=output_tokens),
            folder,
            Bounds(seconds=seconds, requests=requests, rung_seconds=rung_seconds),
            progress,
        )
        found = ladder.climb(rungs)
    write(found, folder)
    _keep(found, place)
    if output == "json":
        told = found.model_dump(mode="json", exclude={"samples"})
        if before is not None:
            told["changes"] = [one.model_dump() for one in changes(before, found)]
        say(as_json(told))
    else:
        say(as_text(found).rstrip("\n"))
        if before is not None:
            say("\n" + compared(before, found, str(compare)).rstrip("\n"))
        say(f"\nresults, raw files and charts: {folder / RESULT}")
    return _code(found)


def _keep(found: "BenchResult", place: "Target") -> None:
    """For the page; what was measured is in its folder already."""
    from vllm_multinode.operate.bench.kept import keep

    if place.service is None or not found.rungs:
        return
    try:
        keep(found, place.service)
    except OSError as error:
        _progress(f"not kept for the dashboard: {error}")


def _code(found: "BenchResult") -> int:
    return ExitCode.INTERRUPTED if found.ended == "interrupted" else ExitCode.OK


def _rungs(text: str) -> list[int]:
    """Concurrencies, each once, from the lowest.

    Raises:
        MultinodeError: USAGE: something else stands there.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(is_count(part) and 1 <= int(part) <= 10_000 for part in parts):
        raise MultinodeError(
            ExitCode.USAGE,
            f"'{text}' is not a list of numbers from 1 to 10000.",
            where="--concurrency",
            hint="Such as 1,4,16.",
        )
    return sorted({int(part) for part in parts})


@contextmanager
def _target(
    target: str,
    *,
    local: bool,
    url: str,
    metrics: Sequence[str],
    cluster: tuple[str, str, str, LoginSource],
) -> "Iterator[Target]":
    from vllm_multinode.operate.bench import target as targets

    key = os.environ.get(env.API_KEY, "")
    namespace, context, kubeconfig, login = cluster
    if targets.is_url(target):
        if local or url:
            option = "--local" if local else "--url"
            raise MultinodeError(
                ExitCode.USAGE, f"{option} is for a service, not for a URL.", hint="Give a name with it."
            )
        engines = [targets.checked_url(one, "--metrics") for one in metrics]
        yield targets.at_url(targets.checked_url(target, "URL"), engines, key)
        return
    if metrics:
        raise MultinodeError(
            ExitCode.USAGE, "--metrics is for a URL: a service's engines are known.", hint="Leave it out."
        )
    with (
        source(
            local=local, namespace=namespace, context=context, kubeconfig=kubeconfig, login=login
        ) as place,
        ExitStack() as ends,
    ):
        seen = targets.service_of(place, target)
        way = place.way_in(seen)
        address = targets.checked_url(url, "--url") if url else way.url
        if not url and address.startswith("https:"):
            raise targets.own_address_over_tls(seen)
        if not address:
            address = ends.enter_context(targets.forwarded(seen, kubeconfig, context))
        tokenizer = targets.local_model(way.model) or targets.hub_name(seen)
        yield targets.at_service(place, seen, address, key or way.key, tokenizer)


def _model(served: Sequence[str], asked: str, url: str) -> str:
    if not asked:
        return served[0]
    if asked not in served:
        raise MultinodeError(ExitCode.USAGE, f"'{asked}' is not served; {', '.join(served)} is.", where=url)
    return asked


def _tokenizer(known: str) -> str:
    if not known:
        raise MultinodeError(
            ExitCode.USAGE,
            "the model's tokenizer is not known, and it is needed to build the prompts.",
            where="--tokenizer",
            hint="Give a folder that holds the model's tokenizer.json, or its name on the hub.",
        )
    return known


def _slug(text: str) -> str:
    words = "".join(one if one.isalnum() else "-" for one in text.partition("://")[2] or text)
    return "-".join(filter(None, words.split("-")))[:40] or "service"


@contextmanager
def _termination_is_an_interrupt() -> Iterator[None]:
    """What was measured is kept when a Job's pod is ended, too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _progress(text: str) -> None:
    context = click.get_current_context(silent=True)
    if context is None or not context.find_root().meta.get(QUIET):
        click.echo(text, err=True)


def _silent(_: str) -> None:
    """Standard output is for a program."""
