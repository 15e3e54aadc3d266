"""A kustomization with URLs is not built unless asked for: nothing is loaded from elsewhere."""

import shutil
from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s import kustomize
from vllm_multinode.k8s.documents import Reading
from vllm_multinode.k8s.files import read


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that would have been built."""
    called: list[Path] = []

    def build(folder: Path) -> str:
        called.append(folder)
        return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"

    monkeypatch.setattr(kustomize, "build", build)
    return called


@pytest.mark.parametrize(
    "entry",
    [
        "https://example.com/base.yaml",
        "HTTP://example.com/base.yaml",
        "github.com/org/repo?ref=v1",
        "github.com/org/repo/base",
        "git@example.com:org/repo.git",
        "git::https://example.com/repo",
        "ssh://git@example.com/repo",
        "example.com/org/repo.git/base",
        "example.com/org//base?ref=main",
    ],
)
@pytest.mark.parametrize("field", ["resources", "bases", "components", "transformers"])
def test_urls_are_refused_with_their_line(entry: str, field: str, tmp_path: Path, builds: list[Path]) -> None:
    (tmp_path / "kustomization.yaml").write_text(f"namePrefix: a-\n{field}:\n  - {entry}\n")
    with pytest.raises(MultinodeError, match="nothing is loaded from elsewhere") as raised:
        read([str(tmp_path)])
    assert raised.value.code == ExitCode.KUSTOMIZE
    assert raised.value.where.endswith("kustomization.yaml:3")
    assert "--remote" in raised.value.hint
    assert builds == []
    assert read([str(tmp_path)], Reading(remote=True))
    assert builds == [tmp_path]


def test_a_url_of_a_base_is_refused_too(tmp_path: Path, builds: list[Path]) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "overlay").mkdir()
    (tmp_path / "base/kustomization.yaml").write_text(
        '{"resources": ["https://example.com/x", "../overlay"]}'
    )
    (tmp_path / "overlay/kustomization.yaml").write_text("resources: [../base]\n")
    with pytest.raises(MultinodeError, match=r"loads https://example\.com/x") as raised:
        read([str(tmp_path / "overlay")])
    assert "base/kustomization.yaml:1" in raised.value.where
    assert builds == []


def test_local_folders_with_such_names_are_local(tmp_path: Path, builds: list[Path]) -> None:
    (tmp_path / "base.git").mkdir()
    (tmp_path / "kustomization.yaml").write_text("resources: [base.git, ../other, file.yaml, 7]\n")
    assert read([str(tmp_path)])
    assert builds == [tmp_path]


@pytest.mark.skipif(not any(map(shutil.which, ("kubectl", "kustomize", "oc"))), reason="nothing builds one")
def test_what_is_local_is_built_as_before(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [x.yaml]\n")
    (tmp_path / "x.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n")
    assert [one.name for one in read([str(tmp_path)])] == ["x"]
