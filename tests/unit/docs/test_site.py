"""The site builds, strictly, from the repository's own files, and asks nobody else for anything."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def _build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [root / "scripts/docs", site],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = _build(ROOT, folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_of_the_repository_is_in_it(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    pages += [path.relative_to(ROOT) for path in (ROOT / "manifests").glob("**/README.md")]
    pages += [path.relative_to(ROOT) for path in (ROOT / "overlays").glob("**/README.md")]
    for page in pages:
        folder = page.parent if page.stem in ("index", "README") else page.with_suffix("")
        assert (site / folder / "index.html").is_file(), page


def test_a_page_loads_nothing_from_another_host(site: Path) -> None:
    loaded = re.compile(
        r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//[^>]*"""
        r"""|<link\b(?![^>]*rel="?(?:canonical|next|prev))[^>]*\bhref=["']?(?:https?:)?//[^>]*"""
    )
    for page in site.rglob("*.html"):
        assert not loaded.findall(page.read_text(encoding="utf-8")), page


def test_broken_links_fail(tmp_path: Path) -> None:
    for name in ("mkdocs.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "scripts/site", tmp_path / "scripts/site")
    for name in ("docs", "options"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/rules.md").write_text("# Rules\n")
    broken = "[page](nowhere.md) [anchor](rules.md#no-such-rule) [file](../scripts/nowhere)"
    (tmp_path / "docs/index.md").write_text(f"# Home\n\n{broken}\n")
    configured = re.sub(r"(?s)\nnav:.*", '\nnav: ["*.md"]\n', (ROOT / "mkdocs.yml").read_text())
    (tmp_path / "mkdocs.yml").write_text(configured)
    built = _build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    for complaint in ("nowhere.md", "no-such-rule", "scripts/nowhere"):
        assert complaint in built.stdout + built.stderr
