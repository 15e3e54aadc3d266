"""docs/rules.md, from the rules themselves."""

from generators.repository import ROOT, Files
from vllm_multinode.authoring.rules.listing import as_markdown


def files() -> Files:
    """The page."""
    return {ROOT / "docs/rules.md": as_markdown()}
