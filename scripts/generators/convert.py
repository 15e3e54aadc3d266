"""tests/data/convert/*/expected.json: what each example of another system's files is converted to."""

import json
from pathlib import Path

from generators.repository import ROOT, Files
from vllm_multinode.convert import convert
from vllm_multinode.convert.report import as_object
from vllm_multinode.convert.sources import read_sources
from vllm_multinode.k8s.documents import Reading

EXAMPLES = ROOT / "tests/data/convert"
EXPECTED = "expected.json"


def converted(folder: Path) -> str:
    """The report of an example as JSON; its files are named without their folder."""
    sources = [path for path in sorted(folder.iterdir()) if path.name != EXPECTED]
    report = as_object(convert(read_sources([str(path) for path in sources], Reading())))
    text = json.dumps(report, indent=1, ensure_ascii=False)
    return text.replace(f"{folder}/", "") + "\n"


def files() -> Files:
    """The file of every example."""
    return {folder / EXPECTED: converted(folder) for folder in sorted(EXAMPLES.iterdir()) if folder.is_dir()}
