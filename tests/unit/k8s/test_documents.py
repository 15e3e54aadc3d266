"""Manifests as Kubernetes reads them: values, lines, bounds, and one line for what cannot be read."""

import shutil
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.k8s.documents import Document, from_text
from vllm_multinode.k8s.files import read
from vllm_multinode.k8s.parser import LARGEST_FILE, MOST_VALUES

HEAD = "apiVersion: v1\nkind: X\n"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", True),
        ("off", False),
        ("'yes'", "yes"),
        ("!!str yes", "yes"),
        ("~", None),
        ("", None),
        ("n", False),
        ("0777", 511),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("08", 8),
        ("1e3", 1000),
        ("1.5", 1.5),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("1.0.0", "1.0.0"),
        ("8Gi", "8Gi"),
        ("-12", -12),
        ("=", "="),
        ("18446744073709551615", 2**64 - 1),
        ("1" * 5000, "1" * 5000),
        ("!!int 12", 12),
        ("!!binary aGk=", "hi"),
        ("!mine text", "text"),
    ],
)
def test_scalar_is_read_as_kubernetes_reads_it(written: str, value: object) -> None:
    (document,) = from_text(f"{HEAD}a: {written}\n", "f")
    assert document.body["a"] == value
    assert type(document.body["a"]) is type(value)


def test_keys_are_text() -> None:
    (document,) = from_text(f"{HEAD}on: 1\n8080: 2\n", "f")
    assert document.body == {"apiVersion": "v1", "kind": "X", "true": 1, "8080": 2}


def test_anchors_and_merges() -> None:
    text = f"{HEAD}a: &a {{x: 1, z: [2]}}\nb: {{<<: *a, x: 3}}\nc: *a\n"
    (document,) = from_text(text, "f")
    assert document.body["b"] == {"x": 3, "z": [2]}
    assert document.body["c"] == {"x": 1, "z": [2]}
    assert document.body["c"]["z"] is not document.body["a"]["z"]


LINES = """# a comment
apiVersion: v1
kind: X
metadata:
  name: one

spec:
  list:
    - a: 1
      b: 2
    - {c: 3}
  text: |
    more
    lines
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        pytest.param((), 2, id="object"),
        pytest.param(("metadata", "name"), 5, id="value"),
        pytest.param(("spec", "list", 0, "b"), 10, id="in-list"),
        pytest.param(("spec", "list", 1, "c"), 11, id="in-brackets"),
        pytest.param(("spec", "text"), 12, id="block"),
        pytest.param(("spec", "list", 7), 8, id="nearest-parent-of-item"),
        pytest.param(("spec", "absent", "x"), 7, id="nearest-parent-of-key"),
    ],
)
def test_line(path: tuple[str | int, ...], line: int) -> None:
    (document,) = from_text(LINES, "f")
    assert document.line(path) == line


def test_documents_and_lists_are_unpacked() -> None:
    text = (
        f"---\n{HEAD}---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: Z}}\n"
    )
    found = from_text(text, "f")
    assert [(one.kind, one.index) for one in found] == [("X", 0), ("Z", 1)]
    assert found[1].line(()) == 10


def test_json_with_tabs_and_surrogates() -> None:
    (document,) = from_text('{"apiVersion": "v1",\n\t"kind": "X", "a": "\\ud83d\\ude00\\/"}', "f")
    assert document.body["a"] == "\U0001f600/"
    assert document.line(("kind",)) == 2


def test_document_of_plain_data_has_no_lines() -> None:
    assert Document("built in", 0, {"apiVersion": "v1", "kind": "X"}).line(("kind",)) == 0


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param("a: [1\n", 2, "not YAML", id="truncated"),
        pytest.param(f"{HEAD}a: 'b", 3, "ends too early", id="truncated-quote"),
        pytest.param(f"{HEAD}a:\n\tb: 1", 4, "tabs", id="tab"),
        pytest.param(f"{HEAD}a: 1\nb: 2\na: 3", 5, "appears twice: in line 3", id="duplicate"),
        pytest.param("just text", 1, "is text", id="text"),
        pytest.param("- 1", 1, "is a list", id="list"),
        pytest.param("kind: X", 1, "no apiVersion", id="no-api-version"),
        pytest.param("apiVersion: v1\nkind: 3", 2, "no kind", id="kind-is-a-number"),
        pytest.param(f"{HEAD}metadata: x", 3, "metadata is text", id="metadata"),
        pytest.param(f"{HEAD}metadata:\n  name: 1", 4, "metadata.name is a number", id="name"),
        pytest.param(f"{HEAD}metadata: {{labels: [1]}}", 3, "metadata.labels is a list", id="labels"),
        pytest.param(f"{HEAD}items: 3\n".replace("X", "XList"), 3, "items is not a list", id="items"),
        pytest.param("a\x00b", 1, "U+0000", id="nul"),
        pytest.param(f"{HEAD}a: *b", 3, "names no value", id="alias"),
        pytest.param(f"{HEAD}a: &a [*a]", 3, "names no value", id="recursive-alias"),
        pytest.param(f"{HEAD}? [a]\n: 1", 3, "key must be text", id="list-as-key"),
        pytest.param(f"{HEAD}<<: 1", 3, "merges mappings", id="merge-of-text"),
        pytest.param(f"{HEAD}a: .nan", 3, "JSON does not have", id="nan"),
        pytest.param(f"{HEAD}a: !!binary é", 3, "base64", id="binary"),
        pytest.param(f"{HEAD}a: {'[' * 101}", 3, "100 levels", id="deep"),
        pytest.param("- " * 100_000, 1, "100 levels", id="deep-block"),
        pytest.param("[1,\n" * 3 + "1]]]" + "\n- a" * MOST_VALUES, 5, "not YAML", id="two-roots"),
        pytest.param("- a\n" * (MOST_VALUES + 1), MOST_VALUES + 1, "250,000 values", id="values"),
    ],
)
def test_what_cannot_be_read_is_one_line(text: str, line: int, words: str) -> None:
    with pytest.raises(MultinodeError) as caught:
        from_text(text, "file.yaml")
    assert caught.value.code == ExitCode.MANIFEST
    assert caught.value.where == f"file.yaml:{line}"
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


def test_alias_bomb_is_refused() -> None:
    bomb = HEAD + "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20))
    with pytest.raises(MultinodeError, match="aliases counted"):
        from_text(bomb, "f")


class TestRead:
    """Files, folders and standard input."""

    def test_file_and_folder(self, tmp_path: Path) -> None:
        (tmp_path / "b.yaml").write_text(HEAD)
        (tmp_path / "a.json").write_text('{"apiVersion": "v1", "kind": "J"}')
        (tmp_path / "notes.txt").write_text("[")
        assert [one.kind for one in read([str(tmp_path)])] == ["J", "X"]
        assert [one.kind for one in read([str(tmp_path / "b.yaml")])] == ["X"]

    def test_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Stdin:
            buffer = BytesIO(HEAD.encode())

        monkeypatch.setattr(sys, "stdin", Stdin)
        (document,) = read(["-"])
        assert (document.file, document.kind) == ("-", "X")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            pytest.param(b"", "holds no object", id="empty"),
            pytest.param(b"# a comment\n---\n", "holds no object", id="comments"),
            pytest.param(b"a: 1\nb: \xff\xfe", ":2: byte 0xff", id="not-utf-8"),
            pytest.param(b"x" * (LARGEST_FILE + 1), "larger than 16 MiB", id="large"),
        ],
    )
    def test_unreadable_file(self, tmp_path: Path, content: bytes, words: str) -> None:
        file = tmp_path / "f.yaml"
        file.write_bytes(content)
        with pytest.raises(MultinodeError) as caught:
            read([str(file)])
        assert words in str(caught.value)

    @pytest.mark.parametrize("name", ["absent.yaml", "a\0b", ""])
    def test_no_such_file(self, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(MultinodeError) as caught:
            read([name])
        assert caught.value.code == ExitCode.MANIFEST

    def test_file_without_end(self) -> None:
        with pytest.raises(MultinodeError, match="larger than 16 MiB"):
            read(["/dev/zero"])


SERVICE = (
    "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata:\n  name: llm\nspec: {a: 1}\n"
)


@pytest.mark.skipif(
    not any(shutil.which(name) for name in ("kubectl", "kustomize", "oc")), reason="nothing here builds it"
)
class TestKustomization:
    """A folder that kustomize builds."""

    def _folder(self, tmp_path: Path) -> Path:
        (tmp_path / "base").mkdir()
        (tmp_path / "base/service.yaml").write_text(f"# the service\n{SERVICE}")
        (tmp_path / "base/kustomization.yaml").write_text("resources: [service.yaml]\n")
        (tmp_path / "leaf").mkdir()
        (tmp_path / "leaf/kustomization.yaml").write_text("resources: [../base]\nnamePrefix: my-\n")
        return tmp_path / "leaf"

    def test_objects_point_into_their_source(self, tmp_path: Path) -> None:
        folder = self._folder(tmp_path)
        for given in (folder, folder / "kustomization.yaml"):
            (document,) = read([str(given)])
            assert document.name == "my-llm"
            assert document.source is not None
            assert document.source.file.endswith("service.yaml")
            assert document.line(("spec", "a")) == 6

    def test_what_cannot_be_built(self, tmp_path: Path) -> None:
        (tmp_path / "kustomization.yaml").write_text("resources: [absent.yaml]\n")
        with pytest.raises(MultinodeError) as caught:
            read([str(tmp_path)])
        assert caught.value.code == ExitCode.KUSTOMIZE
        assert "absent.yaml" in str(caught.value)


def test_nothing_to_build_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: []\n")

    def nowhere(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(shutil, "which", nowhere)
    with pytest.raises(MultinodeError, match="kubectl, kustomize or oc"):
        read([str(tmp_path)])


@pytest.mark.parametrize(
    ("path", "line"),
    [
        pytest.param(("a", "x"), 4, id="anchor"),
        pytest.param(("b", "x"), 5, id="alias"),
        pytest.param(("b", "y", 1), 5, id="item-of-an-alias"),
        pytest.param(("c", "x"), 6, id="merge"),
        pytest.param(("c", "z"), 8, id="beside-a-merge"),
    ],
)
def test_what_an_alias_stands_for_is_at_the_alias(path: tuple[str | int, ...], line: int) -> None:
    (document,) = from_text(f"{HEAD}a: &a\n  {{x: 1, y: [1, 2]}}\nb: *a\nc:\n  <<: *a\n  z: 3\n", "f")
    assert document.line(path) == line
