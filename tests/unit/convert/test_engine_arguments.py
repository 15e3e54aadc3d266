"""vLLM's arguments, however a source writes them."""

from typing import Any

import pytest

from vllm_multinode.convert.draft import Draft
from vllm_multinode.convert.engine_arguments import Given, command_of, from_list, from_mapping
from vllm_multinode.convert.record import Record


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        pytest.param(["vllm", "serve", "m", "--seed", "1"], ["m", "--seed", "1"], id="serve"),
        pytest.param(
            ["python3", "-m", "vllm.entrypoints.openai.api_server", "--model", "m"],
            ["--model", "m"],
            id="module",
        ),
        pytest.param(
            ["sh", "-c", "ray start --head; exec vllm serve m \\\n --tensor-parallel-size 8"],
            ["m", "--tensor-parallel-size", "8"],
            id="script",
        ),
        pytest.param(["/bin/bash", "-lc", "a && vllm serve 'm n'"], ["m n"], id="quoted"),
        pytest.param(["bash", "-c", "vllm serve 'm"], None, id="unclosed-quote"),
        pytest.param(["ray", "start", "--block"], None, id="ray-alone"),
        pytest.param(["sh", "-c"], None, id="no-script"),
    ],
)
def test_vllm_is_found_in_a_command(words: list[str], arguments: list[str] | None) -> None:
    found = command_of(words)
    assert (found[1] if found else None) == arguments


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        pytest.param(["-tp", "4", "-pp=2"], {"parallelism": {"tensor": 4, "pipeline": 2}}, id="short"),
        pytest.param(["--max_model_len", "8k"], {"context": 8000}, id="thousands"),
        pytest.param(["--max-model-len=8K"], {"context": 8192}, id="binary-thousands"),
        pytest.param(["--max-model-len", "-1"], {"context": "auto"}, id="auto"),
        pytest.param(
            ["--model", "org/name", "--", "--enforce-eager"],
            {"model": {"source": "hf://org/name"}},
            id="end-of-options",
        ),
        pytest.param(["s3://bucket/m/"], {"model": {"source": "s3://bucket/m"}}, id="address"),
        pytest.param(
            ["--no-enable-prefix-caching", "--seed", "3"],
            {"arguments": {"no-enable-prefix-caching": True, "seed": 3}},
            id="switch",
        ),
        pytest.param(
            ["--speculative-config", '{"method": "ngram"}'],
            {"arguments": {"speculative-config": {"method": "ngram"}}},
            id="json",
        ),
        pytest.param(
            ["--max-num-batched-tokens", "1"], {"arguments": {"max-num-batched-tokens": 1}}, id="tokens"
        ),
        pytest.param(["--enforce-eager=false"], {"arguments": {"enforce-eager": False}}, id="off"),
        pytest.param(["--no-enforce-eager=false"], {"arguments": {"enforce-eager": True}}, id="not-off"),
        pytest.param(
            ["--data-parallel-size", "2", "--data-parallel-rank", "1"], {}, id="what-a-spec-refuses"
        ),
        pytest.param(["--api-key", "x"], {}, id="secret"),
        pytest.param(["-tp", "9" * 5000, "--max-model-len", "9" * 5000], {}, id="numbers-without-end"),
        pytest.param(["--swap-space", "4", "--no-such-option"], {}, id="not-vllms"),
    ],
)
def test_each_argument_goes_where_the_spec_says_it(arguments: list[str], fields: dict[str, Any]) -> None:
    record, draft = Record({"args": arguments}, "x"), Draft("x")
    from_list(record, draft, [Given(text, ("args", i)) for i, text in enumerate(arguments)], {})
    assert draft.fields == fields
    assert all(row.why or row.status == "carried" for row in record.rows())
    assert not any("not known here" in row.why for row in record.rows())


def test_variables_stand_for_their_values() -> None:
    record, draft = Record({"args": ["--model", "$(M)", "-tp", "${T}"]}, "x"), Draft("x")
    given = [Given(text, ("args", i)) for i, text in enumerate(record.body["args"])]
    from_list(record, draft, given, {"M": "org/name", "T": "2"})
    assert draft.fields == {"model": {"source": "hf://org/name"}, "parallelism": {"tensor": 2}}


@pytest.mark.parametrize("key", ["max-model-len", "max_model_len", "maxModelLen"])
def test_a_mapping_may_write_names_in_any_way(key: str) -> None:
    record, draft = Record({key: 4096}, "x"), Draft("x")
    from_mapping(record, draft, (), {key: 4096})
    assert draft.fields == {"context": 4096}
