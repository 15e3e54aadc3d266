"""docs/causes.md, from the causes themselves."""

from generators.repository import ROOT, Files
from vllm_multinode.cluster.causes.listing import as_markdown


def files() -> Files:
    """The page."""
    return {ROOT / "docs/causes.md": as_markdown()}
