"""`multinode report`: everything about a service in one file."""

import time
from pathlib import Path
from typing import Annotated

from vllm_multinode.cli.cluster_options import say
from vllm_multinode.cli.declare import Option
from vllm_multinode.cli.service_options import Asked, over_services
from vllm_multinode.contract.exit_codes import ExitCode

_BETWEEN = 1.0
"""Seconds between two looks: what is counted then gives the rates."""


@over_services
def report(
    asked: Asked,
    *,
    out: Annotated[Path, Option("--out", help="The file, such as report.tar.gz.")] = Path(
        "multinode-report.tar.gz"
    ),
) -> int:
    """Collect status, diagnosis, logs and objects in one archive; secrets are hidden.

    multinode report llama -n models --out llama.tar.gz

    multinode report --local
    """
    import importlib.metadata

    from vllm_multinode.operate.bundle import bundle
    from vllm_multinode.operate.written import write_whole

    with asked.source() as place:
        earlier = place.observe(asked.name, asked.labels)
        time.sleep(_BETWEEN)
        found = place.observe(asked.name, asked.labels, deep=True)
        data = bundle(place, found, importlib.metadata.version("vllm-multinode"), earlier)
    write_whole(out, data, mode=0o600)
    say(f"Written: {out} ({len(data) / 1024:.0f} KiB). Review it before you share it.")
    return ExitCode.OK
