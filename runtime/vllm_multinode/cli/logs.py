"""`multinode logs`: what all nodes of a service have written, in one stream."""

import re
import time
from typing import TYPE_CHECKING, Annotated

from vllm_multinode.cli.cluster_options import say
from vllm_multinode.cli.declare import Option
from vllm_multinode.cli.service_options import Asked, OutputFormat, over_services
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


@over_services
def logs(
    asked: Asked,
    *,
    since: Annotated[str, Option(help="No older lines: 90s, 10m, 2h, 1d.", show_default=False)] = "",
    follow: Annotated[bool, Option("--follow", "-f", help="Go on as they grow, until Ctrl-C.")] = False,
    previous: Annotated[
        bool, Option("--previous", "-p", help="Of containers that have ended, and their last word.")
    ] = False,
    errors: Annotated[bool, Option("--errors", help="Only the lines that tell of a failure.")] = False,
    output: OutputFormat = "text",
) -> int:
    """Print the logs of all nodes in order of time, with rank, engine and supervisor told apart.

    multinode logs llama -n models --since 10m --errors

    multinode logs --local --follow
    """
    if follow and previous:
        raise MultinodeError(ExitCode.USAGE, "--previous has ended; there is nothing to follow.")
    oldest = time.time() - _seconds(since) if since else 0.0
    with asked.source() as place:
        found = place.observe(asked.name, asked.labels)
        streams = [place.streams(seen, oldest, several=len(found) > 1) for seen in found]
        lines = [
            stream.earlier(seen) if previous else stream.now(seen)
            for stream, seen in zip(streams, found, strict=True)
        ]
        _show(lines, errors=errors, output=output)
        if follow:
            _follow(place, found, streams, errors=errors, output=output)
    return ExitCode.OK


def _follow(
    place: "Source",
    found: "Sequence[Observation]",
    streams: "Sequence[Streams]",
    *,
    errors: bool,
    output: str,
) -> None:
    """Until Ctrl-C, or until the services are gone; replaced pods are followed too."""
    try:
        while True:
            time.sleep(_POLL)
            lines = []
            for stream, seen in zip(streams, found, strict=True):
                (again,) = place.observe(seen.snapshot.name)
                lines.append(stream.now(again))
            _show(lines, errors=errors, output=output)
    except KeyboardInterrupt:
        return


def _show(streams: "Sequence[Sequence[Line]]", *, errors: bool, output: str) -> None:
    import json

    from vllm_multinode.operate.logs import as_text, merged

    for line in merged(streams):
        if not errors or line.matters:
            say(json.dumps(line.as_object(), ensure_ascii=False) if output == "json" else as_text(line))


def _seconds(text: str) -> float:
    """A duration such as 10m.

    Raises:
        MultinodeError: USAGE: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None:
        raise MultinodeError(
            ExitCode.USAGE, f"'{text}' is no duration.", where="--since", hint="Write 90s, 10m, 2h or 1d."
        )
    return float(found[1]) * _UNITS[found[2] or "s"]
