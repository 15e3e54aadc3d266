import os
from pathlib import Path
from typing import Any

import pytest

from vllm_multinode.checkpoint.config import HEADS, count, kv_heads, language_model, read_config
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b'{"a": ', "is not JSON: Expecting value (line 1", id="cut"),
        pytest.param(b"[]", "is not a JSON object but a list", id="list"),
        pytest.param(b"\xff\xfe", "not UTF-8", id="binary"),
        pytest.param(b"[" * 200_000, "nested too deep", id="deep"),
        pytest.param(b'{"a": 1' + b"0" * 5000 + b"}", "a number that is too long", id="long-number"),
        pytest.param(b" " * ((64 << 20) + 1), f"holds more than {64 << 20} bytes", id="huge"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(MultinodeError) as raised:
        read_config(path)
    assert raised.value.code is ExitCode.MODEL_CONFIG
    assert words in raised.value.what
    assert raised.value.where == str(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    os.mkfifo(path)
    with pytest.raises(MultinodeError, match="is not a file"):
        read_config(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MultinodeError) as raised:
        read_config(tmp_path / "config.json")
    assert raised.value.code is ExitCode.MODEL_MISSING


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({"n_head": 8}, 8, id="flat"),
        pytest.param({"n_head": 8, "text_config": {"n_heads": 4}}, 4, id="nested"),
        pytest.param({"thinker_config": {"text_config": {"num_heads": 2}}}, 2, id="nested-twice"),
        pytest.param({"n_head": 8, "text_config": {}}, 8, id="empty-nested"),
        pytest.param({"n_head": 8, "text_config": None}, 8, id="null-nested"),
        pytest.param({"num_attention_heads": True, "n_head": "8"}, None, id="not-a-number"),
    ],
)
def test_where_the_heads_stand(config: dict[str, Any], expected: int | None) -> None:
    assert count(language_model(config), HEADS) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({"num_key_value_heads": 8}, 8, id="given"),
        pytest.param({"n_head_kv": 4}, 4, id="alias"),
        pytest.param({"num_key_value_heads": 128, "kv_lora_rank": 512}, None, id="latent"),
        pytest.param({"num_kv_heads": 71, "multi_query": True}, 1, id="falcon"),
        pytest.param(
            {"num_kv_heads": 8, "multi_query": True, "new_decoder_architecture": True}, 8, id="new-falcon"
        ),
        pytest.param({}, None, id="unknown"),
    ],
)
def test_kv_heads(config: dict[str, Any], expected: int | None) -> None:
    assert kv_heads(config) == expected
