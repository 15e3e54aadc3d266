"""`multinode logs`: what all nodes of a service have written, in one stream."""

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import click

from vllm_multinode.cli.answer import Output, OutputFormat
from vllm_multinode.cli.cluster_options import say
from vllm_multinode.cli.declare import Option
from vllm_multinode.cli.service_options import Asked, over_services
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_multinode.operate.log_streams import Streams
    from vllm_multinode.operate.logs import Line
    from vllm_multinode.operate.observation import Observation
    from vllm_multinode.operate.source import Source

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_POLL = 1.0


Node = Annotated[str, Option("--node", help="Only of this rank, node or pod.", show_default=False)]
Tail = Annotated[int | None, Option("--tail", min=0, help="Only this many of the last lines.")]
Follow = Annotated[bool, Option("--follow", "-f", help="Follow the logs until Ctrl-C.")]
Previous = Annotated[
    bool,
    Option("--previous", "-p", help="Logs of containers that have ended, with their termination messages."),
]


@dataclass(frozen=True)
class Wanted:
    """Which lines, and how they are printed.

    Attributes:
        oldest: Unix time in seconds of the oldest one.
        follow: go on as they grow.
        previous: of containers that have ended.
        errors: only those that tell of a failure.
        node: a rank, node or pod; empty for all.
        tail: how many of the last ones; None for all.
        output: text or json.
    """

    oldest: float = 0.0
    follow: bool = False
    previous: bool = False
    errors: bool = False
    node: str = ""
    tail: int | None = None
    output: Output = "text"


@over_services
def logs(
    asked: Asked,
    *,
    since: Annotated[
        str, Option(help="Only lines newer than this: 90s, 10m, 2h, 1d.", show_default=False)
    ] = "",
    follow: Follow = False,
    previous: Previous = False,
    errors: Annotated[bool, Option("--errors", help="Only lines that report a failure.")] = False,
    node: Node = "",
    tail: Tail = None,
    output: OutputFormat = "text",
) -> int:
    """Print the logs of all nodes in time order, with rank and source (engine or supervisor).

    multinode logs llama -n models --since 10m --errors

    multinode logs --local --follow
    """
    oldest = time.time() - _seconds(since) if since else 0.0
    return show(asked, Wanted(oldest, follow, previous, errors, node, tail, output))


def show(asked: Asked, wanted: Wanted) -> int:
    """Print them.

    Raises:
        MultinodeError: USAGE: --previous cannot be followed, or there is no such node.
    """
    if wanted.follow and wanted.previous:
        raise MultinodeError(ExitCode.USAGE, "--previous has ended; there is nothing to follow.")
    with asked.source() as place:
        found = place.observe(asked.name, asked.labels)
        streams = [place.streams(seen, wanted.oldest, several=len(found) > 1) for seen in found]
        lines = [
            stream.earlier(seen) if wanted.previous else stream.now(seen)
            for stream, seen in zip(streams, found, strict=True)
        ]
        chosen = _chosen(lines, wanted)
        if wanted.node and not chosen:
            _require_node(found, lines, wanted.node)
        if not chosen:
            # It may be for want of a right that there are none.
            for sentence in dict.fromkeys(sentence for seen in found for sentence in seen.unseen):
                click.echo(f"not seen: {sentence}", err=True)
        _print(chosen if wanted.tail is None else chosen[len(chosen) - wanted.tail :], wanted)
        if wanted.follow:
            _follow(place, found, streams, wanted)
    return ExitCode.OK


def _follow(
    place: "Source", found: "Sequence[Observation]", streams: "Sequence[Streams]", wanted: Wanted
) -> None:
    """Until Ctrl-C, or until the services are gone; replaced pods are followed too."""
    try:
        while True:
            time.sleep(_POLL)
            lines = []
            for stream, seen in zip(streams, found, strict=True):
                (again,) = place.observe(seen.snapshot.name)
                lines.append(stream.now(again))
            _print(_chosen(lines, wanted), wanted)
    except KeyboardInterrupt:
        return
    except MultinodeError as error:
        if error.code not in (ExitCode.NOT_SERVING, ExitCode.LOCAL_RUN):
            raise


def _chosen(streams: "Sequence[Sequence[Line]]", wanted: Wanted) -> "list[Line]":
    from vllm_multinode.operate.logs import merged

    return [
        line
        for line in merged(streams)
        if (line.matters or not wanted.errors) and (not wanted.node or line.is_of(wanted.node))
    ]


def _require_node(found: "Sequence[Observation]", lines: "Sequence[Sequence[Line]]", name: str) -> None:
    """Refuse a name that nothing has: a node that has written nothing is no mistake."""
    from vllm_multinode.operate.status import status_of

    there = {line.pod for stream in lines for line in stream}
    for seen in found:
        for one in status_of(seen).ranks:
            there |= {one.pod, one.node, "" if one.rank is None else str(one.rank)}
    if name not in there:
        known = ", ".join(sorted(filter(None, there)))
        hint = f"There are: {known}." if known else "There are no log lines."
        raise MultinodeError(ExitCode.USAGE, f"there is no node '{name}'.", where="--node", hint=hint)


def _print(lines: "Sequence[Line]", wanted: Wanted) -> None:
    import json

    from vllm_multinode.operate.logs import as_text

    for line in lines:
        say(json.dumps(line.as_object(), ensure_ascii=False) if wanted.output == "json" else as_text(line))


def _seconds(text: str) -> float:
    """A duration such as 10m.

    Raises:
        MultinodeError: USAGE: it is none.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd]?)", text)
    if found is None:
        raise MultinodeError(
            ExitCode.USAGE, f"'{text}' is not a duration.", where="--since", hint="Write 90s, 10m, 2h or 1d."
        )
    return float(found[1]) * _UNITS[found[2] or "s"]
