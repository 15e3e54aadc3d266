"""What mkdocs does not do by itself: pages beside docs/, links between them, the project's address."""

import fnmatch
import logging
import posixpath
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[2]
BESIDE: Final = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "manifests/README.md",
    "manifests/*/README.md",
    "overlays/README.md",
    "overlays/*/README.md",
)
"""Pages that stand where they are needed, outside docs/."""
_LINK: Final = re.compile(r"(?P<code>`+[^`]*`+)|(?P<before>\]\()(?P<target>[^)\s]+)(?P<after>\))")
_FENCE: Final = re.compile(r"^\s*(```|~~~)")

logger = logging.getLogger("mkdocs.hooks.site")


def repository() -> str:
    """The project's address, which pyproject.toml alone states."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["urls"]["Repository"])


def beside() -> list[str]:
    """The pages outside docs/, as paths in the repository."""
    return sorted(str(path.relative_to(ROOT)) for pattern in BESIDE for path in ROOT.glob(pattern))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set the address, and expand the patterns of the navigation."""
    config.repo_url = repository()
    config.repo_name = "/".join(repository().split("/")[-2:])
    config.edit_uri = ""
    docs = Path(config.docs_dir)
    pages = sorted(str(path.relative_to(docs)) for path in docs.rglob("*.md")) + beside()
    named = {entry for entry in _entries(config.nav) if "*" not in entry}
    config.nav = _expanded(config.nav, [page for page in pages if page not in named])
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/ under their own paths."""
    for page in beside():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / page)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead relative links to the page in this site, or to the repository where they mean another file."""
    source = page.file.src_uri
    here = source if source in beside() else f"docs/{source}"

    def lead(match: re.Match[str]) -> str:
        if match["code"]:
            return match[0]
        return f"{match['before']}{_target(match['target'], here, source)}{match['after']}"

    lines, fenced = [], False
    for line in markdown.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        lines.append(line if fenced else _LINK.sub(lead, line))
    return "\n".join(lines)


def _target(target: str, here: str, source: str) -> str:
    """A link's target as this site has it.

    Args:
        target: as it is written.
        here: path of its page in the repository.
        source: path of its page in the site.
    """
    path, mark, anchor = target.partition("#")
    if "://" in target or not path or path.startswith(("mailto:", "/")):
        return target
    meant = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
    if not (ROOT / meant).exists():
        logger.warning("%s links to '%s', and there is no %s", here, target, meant)
        return target
    if (ROOT / meant).is_dir() and (ROOT / meant / "README.md").is_file():
        meant = f"{meant}/README.md"
    if meant in beside():
        return posixpath.relpath(meant, posixpath.dirname(source) or ".") + mark + anchor
    if meant.startswith("docs/"):
        return (
            posixpath.relpath(meant.removeprefix("docs/"), posixpath.dirname(source) or ".") + mark + anchor
        )
    kind = "tree" if (ROOT / meant).is_dir() else "blob"
    return f"{repository()}/{kind}/main/{meant}{mark}{anchor}"


def _entries(nav: Any) -> list[str]:
    """Every page and pattern of a navigation."""
    if isinstance(nav, str):
        return [nav]
    values = nav.values() if isinstance(nav, dict) else nav or ()
    return [entry for value in values for entry in _entries(value)]


def _expanded(nav: Any, left: list[str]) -> Any:
    """A navigation with the pages in place of its patterns; each page is taken out of `left` once."""
    if isinstance(nav, dict):
        return {title: _expanded(value, left) for title, value in nav.items()}
    expanded: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and "*" in entry:
            depth = entry.count("/")
            pages = [page for page in left if page.count("/") == depth and fnmatch.fnmatch(page, entry)]
            left[:] = [page for page in left if page not in pages]
            expanded += pages
        else:
            value = entry if isinstance(entry, str) else _expanded(entry, left)
            if value not in ([], *({title: []} for title in (value if isinstance(value, dict) else ()))):
                expanded.append(value)
    return expanded
