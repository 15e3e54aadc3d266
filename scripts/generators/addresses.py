"""The project's address, from pyproject.toml to every file that has to spell it out."""

import re
import tomllib
from typing import Final

from generators.repository import ROOT, Files

_PAGES: Final = ("README.md", "SECURITY.md", ".github/ISSUE_TEMPLATE/config.yml")
_ADDRESS: Final = re.compile(r"https://[^\s()<>\"]+?(?=/(?:blob|tree|raw)/main/|/security/advisories/)")


def repository() -> str:
    """The address, without a slash at its end."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["urls"]["Repository"]).rstrip("/")


def files() -> Files:
    """Each page with this project's address in the place of another's."""
    return {
        ROOT / page: _ADDRESS.sub(repository(), (ROOT / page).read_text(encoding="utf-8")) for page in _PAGES
    }
