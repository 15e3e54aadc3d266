"""The figures of the overlays, from the `multinode plan` command that each one's README names.

A folder's own words stay: the sizes are written where they stand, and the README's last line, how to look at
what runs, is written whole.
"""

import contextlib
import functools
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any, Final

import yaml

from generators.repository import ROOT, Files
from vllm_multinode.authoring.spec.accelerators import RESOURCES
from vllm_multinode.cli.app import run

_COMMAND: Final = re.compile(r"`multinode (plan [^`]+)`")
_SIZE: Final = re.compile(r"(- Size: (?:\d+ groups of )?).*?( in each)?; a claim of \d+ GiB")
_LOOK: Final = "- Check: "
_TOOLS: Final = {
    "nvidia": "nvidia-smi",
    "amd": "rocm-smi",
    "gaudi": "hl-smi",
    "intel": "clinfo -l",
    "cpu": "nproc",
}
"""What shows a node's accelerators, in vLLM's image for each maker."""


def files() -> Files:
    """README, sizes, claim and context of each overlay."""
    written: Files = {}
    for readme in sorted((ROOT / "overlays").glob("*/README.md")):
        folder, text = readme.parent, readme.read_text(encoding="utf-8")
        command = _COMMAND.search(text)
        # The tiny one was run, not planned.
        if command is not None and "- Computed" in text:
            sizes = _planned(command[1])
            text = _SIZE.sub(functools.partial(_size, sizes), text)
            for path in sorted(folder.rglob("*.yaml")):
                written[path] = _with_sizes(path.read_text(encoding="utf-8"), sizes)
        before, _, _ = text.partition(_LOOK)
        written[readme] = f"{before}{_LOOK}{_look(folder)}\n"
    return written


def _planned(command: str) -> dict[str, Any]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run([*shlex.split(command), "--output", "json"])
    if code:
        raise ValueError(f"multinode {command} ends with {code}: an overlay is for what fits")
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def _size(sizes: dict[str, Any], found: re.Match[str]) -> str:
    return (
        f"{found[1]}{sizes['nodes']} nodes, TP {sizes['tensor_parallel']}, PP {sizes['pipeline_parallel']}; "
        f"{sizes['context']} tokens of context, {sizes['max_concurrency']} concurrent requests of this length"
        f"{found[2] or ''}; a claim of {sizes['claim_gib']} GiB"
    )


def _with_sizes(text: str, sizes: dict[str, Any]) -> str:
    each = sizes["tensor_parallel"] * sizes["pipeline_parallel"] // sizes["nodes"]
    resources = "|".join(re.escape(one) for one in (*RESOURCES.values(), "gpu.intel.com/xe") if one != "cpu")
    for pattern, value in (
        (r"(tensorParallelSize: )\d+", sizes["tensor_parallel"]),
        (r"(pipelineParallelSize: )\d+", sizes["pipeline_parallel"]),
        (rf'((?:{resources}): ")\d+', each),
        (r"(storage: )\d+(?=Gi)", sizes["claim_gib"]),
        (r"(--max-model-len=)\d+", sizes["context"]),
    ):
        text = re.sub(pattern, rf"\g<1>{value}", text)
    return text


def _look(folder: Path) -> str:
    """How to see that it runs: the accelerators of head and workers, the group, an answer."""
    top = _kustomization(folder)
    leaf = folder / "replica" if (folder / "replica").is_dir() else folder
    names = {Path(one).name for one in [*top.get("components", []), *_kustomization(leaf)["components"]]}
    tool = next(command for name, command in _TOOLS.items() if name in names)
    service = f"{top['namePrefix']}vllm{'' if leaf == folder else '-1'}"
    head = f"deployment/{service}-predictor"
    shown = f"`kubectl exec {head} -- {tool}`, and the same for `{head}-worker`; "
    forward = f"`kubectl port-forward {head} 8080 8081`, then `curl localhost:8081/status`"
    if names & {"route", "route-reencrypt"}:
        url = f"https://$(oc get route {service} -o jsonpath={{.spec.host}})/v1/models"
        read = f"oc get secret {service}-api-key -o jsonpath={{.data.api-key}} | base64 -d"
        return f'{shown}{forward} for the group; `curl -H "Authorization: Bearer $({read})" {url}`'
    return f"{shown}{forward} for the group and `curl localhost:8080/v1/models`"


def _kustomization(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    return found
