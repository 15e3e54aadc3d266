"""Every command that the documentation tells to type can be typed; those without a cluster are run."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import click
import pytest
import yaml

from unit.docs.console import ROOT, Typed, agrees, fences, pages, typed
from vllm_multinode.authoring.spec import loads
from vllm_multinode.cli.app import application, run
from vllm_multinode.cli.fetch import parser

COMMANDS = [command for page in pages() for command in typed(page)]
OURS = [
    dataclasses.replace(each, words=each.words[1:])
    for each in COMMANDS
    if each.words[0] in ("multinode", ".venv/bin/multinode") or each.words[:2] == ("kubectl", "multinode")
]
RUN = frozenset({"plan", "models", "gpus", "render", "preview", "validate", "schema"})
"""Commands that need neither a cluster nor an engine."""
_OWN = re.compile(r"^(overlays|manifests|scripts|docs|tests|runtime)/")


def test_the_documentation_has_commands() -> None:
    assert len(OURS) > 60


@pytest.mark.parametrize("command", OURS, ids=str)
def test_a_command_line_can_be_read(command: Typed) -> None:
    name, *arguments = command.words
    if name in ("head", "worker", "live"):
        return
    if name == "fetch":
        parser().parse_args(arguments)
        return
    context = click.Context(application(), info_name="multinode")
    group: click.Group = application()
    while True:
        found = group.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        if not isinstance(found, click.Group) or not arguments or arguments[0].startswith("-"):
            break
        context, group = click.Context(found, parent=context, info_name=name), found
        name, *arguments = arguments
    found.make_context(name, arguments, parent=context)


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_what_is_named_of_this_repository_is_there(command: Typed) -> None:
    for word in command.words:
        if _OWN.match(word) and not set(word) & set("<>$*…"):
            assert (ROOT / word).exists(), word


def _specs(page: Path) -> dict[str, str]:
    texts = {}
    for text in fences(page, "yaml"):
        if re.search(r"^name: ", text, re.MULTILINE) and re.search(r"^model:", text, re.MULTILINE):
            texts[f"{yaml.safe_load(text)['name']}.yaml"] = text
    return texts


@pytest.mark.parametrize(
    ("page", "name"),
    [
        pytest.param(page, name, id=f"{page.relative_to(ROOT)}:{name}")
        for page in pages()
        for name in _specs(page)
    ],
)
def test_a_spec_on_a_page_is_one(page: Path, name: str) -> None:
    assert loads(_specs(page)[name]).name == name.removesuffix(".yaml")


GUIDES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("start/*.md")),
    *sorted((ROOT / "docs").glob("how-to/*.md")),
]
"""Pages that a reader follows from top to bottom; the others' commands are examples."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader of the guides has: this repository, a spec, what it renders to, a model, manifests."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("overlays", "manifests"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "tests/data/authoring/llama-70b/spec.yaml", folder / "llama.yaml")
    for name, platform in (("llama", "kserve-0.19.0"), ("my-service", "openshift-ai-2.25")):
        spec = str(folder / "llama.yaml")
        assert run(["render", "-f", spec, "--out", str(folder / name), "--platform", platform]) == 0
    (folder / "my-model").mkdir()
    config = json.loads((ROOT / "tests/data/sizing/configs.json").read_text(encoding="utf-8"))
    (folder / "my-model/config.json").write_text(json.dumps(config["llama-3.3-70b"]), encoding="utf-8")
    return folder


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_what_needs_no_cluster_runs(
    page: Path,
    prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(prepared, tmp_path / "reader", symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("COLUMNS", raising=False)
    for name, text in _specs(page).items():
        (folder / name).write_text(text, encoding="utf-8")
    for command in typed(page):
        program, *words = command.words
        if not program.endswith("multinode") or words[0] not in RUN or words[-1] == "-":
            continue
        code = run(words)
        printed = capsys.readouterr()
        assert code == command.code, f"{command}\n{printed.out}{printed.err}"
        shown = printed.out + printed.err
        assert not command.shown.strip() or agrees(command.shown, shown), f"{command} printed\n{shown}"
        if command.output:
            Path(command.output).write_text(printed.out, encoding="utf-8")


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        pytest.param("a b\nc", "a  b\n\nc\n", True, id="spaces-and-empty-lines"),
        pytest.param("a", "a\nb", False, id="a-line-too-few"),
        pytest.param("a\n…", "a\nb\nc", True, id="any-lines"),
        pytest.param("a\n…\nc", "a\nc", True, id="no-lines"),
        pytest.param("…\nb", "a\nc", False, id="another-last-line"),
        pytest.param("serving after … s", "serving after 3.1 s", True, id="within-a-line"),
        pytest.param("serving after … s", "serving after 3.1 s and more", False, id="whole-line"),
        pytest.param("a … c", "a\nb c", False, id="not-over-lines"),
        pytest.param("a.c", "abc", False, id="literally"),
    ],
)
def test_a_page_is_compared(shown: str, printed: str, expected: bool) -> None:
    assert agrees(shown, printed) is expected
