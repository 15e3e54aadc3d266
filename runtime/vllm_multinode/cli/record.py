"""`multinode record`: the smallest real exercise, and a file that makes it reproducible."""

from pathlib import Path
from typing import Annotated

from vllm_multinode.cli.cluster_options import say
from vllm_multinode.cli.declare import Option
from vllm_multinode.cli.service_options import Asked, over_services
from vllm_multinode.contract.exit_codes import ExitCode


@over_services
def record(
    asked: Asked,
    *,
    output: Annotated[
        Path | None, Option("--output", "-o", help="File to write; standard output by default.")
    ] = None,
    check: Annotated[
        Path | None, Option(help="A record to compare with: send the same request and list the differences.")
    ] = None,
    prompt: Annotated[str, Option(help="The prompt.")] = "One two three",
    tokens: Annotated[int, Option(min=1, max=4096, help="At most.")] = 16,
) -> int:
    """Send one request to a service, and record everything needed to reproduce the answer.

    Exit code 83: with --check, something differs.

    multinode record llama -n models -o llama.record.json

    multinode record --local --check llama.record.json
    """
    from vllm_multinode.operate.record import differences, read_record, record_of
    from vllm_multinode.operate.source import several
    from vllm_multinode.operate.written import text_of, write_whole

    before = None
    if check is not None:
        before = read_record(text_of(check), str(check))
        prompt, tokens = before.exercise.prompt, before.exercise.tokens
    with asked.source() as place:
        found = place.observe(asked.name, asked.labels, deep=True)
        if len(found) > 1:
            raise several([one.snapshot.name for one in found])
        made = record_of(found[0], place.ask, place.platform(), prompt=prompt, tokens=tokens)
    text = made.model_dump_json(indent=2) + "\n"
    if output is not None:
        write_whole(output, text.encode())
    if before is None:
        say(f"Recorded: {output}" if output is not None else text.rstrip("\n"))
        return ExitCode.OK
    lines = differences(before, made)
    for line in lines:
        say(line)
    seconds = f"{before.exercise.seconds:g} s then, {made.exercise.seconds:g} s now"
    say(f"{len(lines)} differences ({seconds})" if lines else f"nothing differs from the record ({seconds})")
    return ExitCode.DIFFERS if lines else ExitCode.OK
