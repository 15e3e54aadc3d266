"""Nothing restarts while the engine is saturated."""

import json
import time
from pathlib import Path
from urllib.request import urlopen

from bench.load import saturating
from bench.nodes import nodes
from bench.report import Figure
from vllm_multinode.contract.executors import ExecutorName
from vllm_multinode.launcher.engine_api import parse_metrics


def measure(model: Path, executor: ExecutorName, seconds: float) -> list[Figure]:
    """Recoveries and the engine's steps in `seconds` of saturating load."""
    with nodes("launcher", executor, model) as group:
        group.first_completion()
        with saturating(group.api, model):
            before = _progress(group.api)
            time.sleep(seconds)
            moved = _progress(group.api) - before
        with urlopen(f"{group.supervisor}/status", timeout=10) as response:
            status = json.load(response)
    minutes = seconds / 60
    return [
        Figure(f"{executor}: recoveries in {minutes:g} minutes of load", status["recoveries"], "", "0"),
        Figure(f"{executor}: tokens and requests that the engine counted meanwhile", moved, "", ""),
    ]


def _progress(api: str) -> float:
    with urlopen(f"{api}/metrics", timeout=60) as response:
        return sum(parse_metrics(response.read().decode(), 0).step)
