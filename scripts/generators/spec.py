"""docs/spec.md, and the rendered examples below tests/data.

The examples are rendered as `multinode render -f spec.yaml --out kserve` and `--target lws --out lws` would.
"""

from pathlib import Path
from typing import Final

from generators.repository import ROOT, Files
from vllm_multinode.authoring.folder import MARKER
from vllm_multinode.authoring.render import application, render
from vllm_multinode.authoring.spec import load
from vllm_multinode.authoring.spec.reference import reference
from vllm_multinode.contract.errors import MultinodeError

# The launcher changes with every change of its sources: neither it nor its digest is recorded.
_LAUNCHER: Final = "launcher.yaml"
_NO_DIGEST: Final = "0" * 10
_TARGETS: Final = ("kserve", "lws")


def files() -> Files:
    """Page and examples; a target that an example is rejected for has none."""
    written: Files = {ROOT / "docs/spec.md": reference()}
    for path in sorted((ROOT / "tests/data/authoring").glob("*/spec.yaml")):
        for target in _TARGETS:
            folder = path.parent / target
            written |= dict.fromkeys(folder.glob("*.yaml"))
            written |= {folder / name: text for name, text in _rendered(path, target).items()}
    return written


def _rendered(spec: Path, target: str) -> dict[str, str]:
    try:
        rendered = render(load(spec), target="lws" if target == "lws" else "kserve")
    except MultinodeError:
        return {}
    names = [name for name in rendered.files if name != _LAUNCHER]
    return {name: MARKER + rendered.text(name).replace(application.digest(), _NO_DIGEST) for name in names}
