import ast
import importlib.util
from pathlib import Path

import pytest

from vllm_multinode.launcher.shared_arguments import SERVER_ONLY, for_workers, warn_of_secrets


def test_under_ray_workers_are_told_none() -> None:
    assert for_workers("ray", ["--seed", "1", "--api-key", "s3cret"]) == ()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param("--seed 1 --dtype=auto", "--seed 1 --dtype=auto", id="the-engines"),
        pytest.param("--api-key a b --seed 1", "--seed 1", id="secret-with-two-values"),
        pytest.param("--api_key=a --hf-token b --seed 1", "--seed 1", id="secrets"),
        pytest.param("--api-k a --hf-tok b", "", id="beginnings-of-secrets"),
        pytest.param("--api-keyy a --seed 1", "--seed 1", id="mistyped-secret"),
        pytest.param("--ssl-keyfile k --ssl-certf c --host :: --seed 1", "--seed 1", id="servers"),
        pytest.param("--no-enable-log-deltas --seed 1", "--seed 1", id="servers-negated"),
        pytest.param("--allowed-origins a b -tp 2", "-tp 2", id="servers-list"),
        pytest.param("/mnt/models --seed 1", "/mnt/models --seed 1", id="model"),
        pytest.param("--default-chat-template-kwargs.a 1 --seed 1", "--seed 1", id="nested"),
        pytest.param(
            "--config a.yaml --served-model-name x", "--config a.yaml --served-model-name x", id="rest"
        ),
    ],
)
def test_under_mp_they_are_told_what_their_share_needs(arguments: str, told: str) -> None:
    assert for_workers("mp", arguments.split()) == tuple(told.split())


def test_a_secret_among_the_arguments_is_warned_of_without_its_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_of_secrets(["--seed", "1", "--api-key", "s3cret"])
    assert "--api-key is among the arguments" in caplog.text
    assert "s3cret" not in caplog.text


def test_the_list_holds_what_the_installed_vllm_reads_in_its_server_only() -> None:
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed: its list of server options is not compared")
    sources = Path(spec.origin).parent.glob("entrypoints/**/cli_args.py")
    trees = [ast.parse(source.read_text()) for source in sources]
    fields = {
        f"--{line.target.id.replace('_', '-')}"
        for tree in trees
        for part in ast.walk(tree)
        if isinstance(part, ast.ClassDef) and part.name in ("FrontendArgs", "BaseFrontendArgs")
        for line in part.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
    assert len(fields) > 20
    assert fields <= SERVER_ONLY
