import itertools
from pathlib import Path

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.launcher.arguments import Fixed, check_arguments, given, last_value, without_model

CONTRACT = {
    "--distributed-executor-backend": Fixed("ray", "MULTINODE_EXECUTOR is ray"),
    "--headless": Fixed(None, "the launcher decides which node is headless"),
    "--master-addr": Fixed(None, "the head gives it"),
    "--model": Fixed("/mnt/models", "MODEL_DIR is /mnt/models"),
    "--nnodes": Fixed("2", "RAY_NODE_COUNT is 2"),
    "--node-rank": Fixed(None, "the head gives ranks"),
    "--pipeline-parallel-size": Fixed("2", "PIPELINE_PARALLEL_SIZE is 2"),
    "--port": Fixed("8080", "MULTINODE_PORT is 8080"),
    "--tensor-parallel-size": Fixed("4", "TENSOR_PARALLEL_SIZE is 4"),
}


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="none"),
        pytest.param(["--max-model-len", "4096", "--enforce-eager"], id="nothing-of-ours"),
        pytest.param(["-tp", "4", "-pp=2"], id="short"),
        pytest.param(["--tensor-parallel-size=4", "--pipeline_parallel_size", "2"], id="dashes-underscores"),
        pytest.param(["--tensor-par", "+4"], id="beginning-and-plus"),
        pytest.param(["-n2"], id="attached"),
        pytest.param(["/mnt/models/", "--port", "8080"], id="model-with-a-slash"),
        pytest.param(["--", "/mnt/models"], id="model-after-dashes"),
        pytest.param(["--port", "1", "--port", "8080"], id="last-wins"),
        pytest.param(["-dp", "1", "--prefill-context-parallel-size=1"], id="ones"),
        pytest.param(["--speculative-config.model", "--port"], id="value-of-a-nested-name"),
        pytest.param(["--speculative-config", '{"model": "x", "num_speculative_tokens": 3}'], id="json"),
        pytest.param(["--served-model-name", "a", "b"], id="several-values"),
        pytest.param(["--no-data-parallel-hybrid-lb"], id="switched-off"),
    ],
)
def test_what_agrees_goes_through(arguments: list[str]) -> None:
    check_arguments(arguments, CONTRACT)


@pytest.mark.parametrize(
    ("arguments", "written", "source"),
    [
        pytest.param(["-tp", "2"], "-tp 2", "TENSOR_PARALLEL_SIZE is 4", id="short"),
        pytest.param(["-tp=2"], "-tp=2", "TENSOR_PARALLEL_SIZE is 4", id="short-equals"),
        pytest.param(["-t", "2"], "-t 2", "TENSOR_PARALLEL_SIZE is 4", id="short-beginning"),
        pytest.param(["--tensor_parallel_size=2"], "--tensor_parallel_size=2", "is 4", id="underscores"),
        pytest.param(["--tensor", "2"], "--tensor 2", "is 4", id="beginning"),
        pytest.param(
            ["--tensor-parallel-size", "four"], "--tensor-parallel-size four", "is 4", id="no-number"
        ),
        pytest.param(["--tensor-parallel-size"], "--tensor-parallel-size", "is 4", id="no-value"),
        pytest.param(["-n4"], "-n4", "RAY_NODE_COUNT", id="attached"),
        pytest.param(["-r=0"], "-r=0", "ranks", id="never-accepted"),
        pytest.param(["--headless"], "--headless", "headless", id="flag"),
        pytest.param(["--port", "8080", "--port=9"], "--port=9", "MULTINODE_PORT", id="last-wins"),
        pytest.param(["other/model", "--port", "8080"], "other/model", "MODEL_DIR", id="positional-model"),
        pytest.param(["--port=8080", "other/model"], "other/model", "MODEL_DIR", id="model-behind-equals"),
        pytest.param(["--model=other"], "--model=other", "MODEL_DIR", id="model"),
        pytest.param(["-dp", "2"], "-dp 2", "one engine", id="data-parallel"),
        pytest.param(["-dph"], "-dph", "one engine", id="data-parallel-balancer"),
        pytest.param(["-pcp", "2"], "-pcp 2", "KServe counts", id="context-parallel-multiplies-the-gpus"),
        pytest.param(["--uds", "/tmp/s"], "--uds /tmp/s", "TCP", id="socket"),
        pytest.param(["--distributed-executor-backend", "mp"], "mp", "MULTINODE_EXECUTOR", id="executor"),
        pytest.param(
            ["--enforce-eager", "--port", "-1"], "--port -1", "MULTINODE_PORT", id="negative-number"
        ),
    ],
)
def test_what_contradicts_is_refused_as_written(arguments: list[str], written: str, source: str) -> None:
    with pytest.raises(MultinodeError) as raised:
        check_arguments(arguments, CONTRACT)
    assert raised.value.code is ExitCode.ARGUMENTS
    assert f"{written} contradicts" in str(raised.value)
    assert source in str(raised.value)


def test_a_flag_that_the_contract_sets_may_be_given() -> None:
    check_arguments(["--headless", "--port", "8080"], {**CONTRACT, "--headless": Fixed("", "rank 1")})


def config_file(directory: Path, content: str, name: str = "engine.yaml") -> str:
    path = directory / name
    path.write_text(content)
    return str(path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("port: 8080\ntensor_parallel_size: 4\nenforce-eager: true\n", id="equal"),
        pytest.param("headless: false\ngrpc: false\n", id="false-is-not-given"),
        pytest.param("served-model-name: [a, b]\nspeculative-config: {model: x}\n", id="lists-and-mappings"),
    ],
)
def test_a_config_file_that_agrees(tmp_path: Path, content: str) -> None:
    check_arguments(["--config", config_file(tmp_path, content)], CONTRACT)


@pytest.mark.parametrize(
    ("content", "written"),
    [
        pytest.param("port: 9000\n", "--port 9000", id="dashes"),
        pytest.param("tensor_parallel_size: 2\n", "--tensor_parallel_size 2", id="underscores"),
        pytest.param("headless: true\n", "--headless", id="flag"),
        pytest.param("model: other\n", "--model other", id="model"),
    ],
)
def test_a_config_file_that_contradicts(tmp_path: Path, content: str, written: str) -> None:
    path = config_file(tmp_path, content)
    with pytest.raises(MultinodeError) as raised:
        check_arguments(["--config", path], CONTRACT)
    assert f"{path}: {written} contradicts" in str(raised.value)


def test_the_command_line_wins_over_the_config_file(tmp_path: Path) -> None:
    path = config_file(tmp_path, "port: 9000\n")
    check_arguments(["--port", "8080", "--config", path], CONTRACT)
    assert last_value(["--port", "8080", "--config", path], "--port") == "8080"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--config"], "ends in .yaml", id="no-file"),
        pytest.param(["--config", "/nowhere/engine.json"], "ends in .yaml", id="not-yaml-by-name"),
        pytest.param(["--config", "/nowhere/engine.yaml"], "No such file", id="absent"),
        pytest.param(["--config=/nowhere/engine.yaml"], "two arguments", id="equals-which-vllm-ignores"),
        pytest.param(["--config", "a.yaml", "--config", "b.yaml"], "more than one", id="twice"),
    ],
)
def test_a_config_file_that_vllm_would_not_read(arguments: list[str], words: str) -> None:
    with pytest.raises(MultinodeError, match=words) as raised:
        check_arguments(arguments, CONTRACT)
    assert raised.value.code is ExitCode.ARGUMENTS


# Each line names the one before it ten times.
BOMB = (
    "a: &a ["
    + "x," * 10
    + "]\n"
    + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in itertools.pairwise("abcdefghi")
    )
)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("a: [\n", id="cut"),
        pytest.param("- a\n", id="a-list"),
        pytest.param("", id="empty"),
        pytest.param(f"a: {'[' * 2000}{']' * 2000}\n", id="deep"),
        pytest.param("a: &a {b: *a}\n", id="a-mapping-in-itself"),
        pytest.param("a: &a [*a]\n", id="a-list-in-itself"),
        pytest.param(BOMB, id="aliases-of-aliases"),
        pytest.param(f"z: {{{BOMB.replace(chr(10), ', ')}}}\n", id="aliases-of-aliases-in-a-mapping"),
        pytest.param("a: 2020-13-45\n", id="a-date-that-is-none"),
        pytest.param("a: 1\n" * 100_000, id="long"),
    ],
)
def test_a_config_file_that_is_no_small_mapping(tmp_path: Path, content: str) -> None:
    with pytest.raises(MultinodeError) as raised:
        check_arguments(["--config", config_file(tmp_path, content)], CONTRACT)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "name", "expected"),
    [
        pytest.param(["--served-model-name", "a", "b"], "--served-model-name", "a", id="plain"),
        pytest.param(["--served_model_name=a"], "--served-model-name", "a", id="underscores"),
        pytest.param(["--served-model", "a"], "--served-model-name", "a", id="beginning"),
        pytest.param(
            ["--served-model-name", "a", "--served-model-name=b"], "--served-model-name", "b", id="last"
        ),
        pytest.param(["--enforce-eager"], "--enforce-eager", "", id="flag"),
        pytest.param(["--compilation-config.mode", "2"], "--compilation-config", "2", id="nested"),
        pytest.param(["m"], "--model", "m", id="positional"),
        pytest.param(["--max-model-len", "--port"], "--max-num-seqs", None, id="absent"),
        pytest.param(["--chat-template", "x"], "--chat-template-content-format", None, id="a-whole-name"),
        pytest.param(["--tensor-parallel-size", "2"], "--tensor-parallel-size", "2", id="ours"),
    ],
)
def test_what_is_given(arguments: list[str], name: str, expected: str | None) -> None:
    assert last_value(arguments, name) == expected
    assert given(arguments, name) is (expected is not None)


def test_what_a_config_file_gives(tmp_path: Path) -> None:
    path = config_file(tmp_path, "served_model_name: [a, b]\nenable-server-load-tracking: true\n")
    assert last_value(["--config", path], "--served-model-name") == "a"
    assert given(["--config", path], "--enable-server-load-tracking")


WORDS = st.lists(st.from_regex(r"[a-z]{2,8}", fullmatch=True), min_size=1, max_size=4)
VALUES = st.lists(st.from_regex(r"[a-z0-9/.{}:]{1,10}", fullmatch=True), max_size=3)


@for_all(
    before=st.lists(st.tuples(WORDS, VALUES), max_size=4),
    name=WORDS,
    value=st.text(max_size=8),
    equals=st.booleans(),
)
def test_an_option_is_found_wherever_and_however_it_stands(
    before: list[tuple[list[str], list[str]]], name: list[str], value: str, equals: bool
) -> None:
    option, spelled = "--zz-" + "-".join(name), "--zz_" + "_".join(name)
    others: list[str] = [item for words, values in before for item in ("--" + "-".join(words), *values)]
    # "--zz" would be the beginning of the option that is looked for.
    others = ["--port" if item in ("--config", "--z", "--zz") else item for item in others]
    arguments = [f"{spelled}={value}"] if equals else [spelled]
    assert given([*others, *arguments], option)
    assert last_value([*others, *arguments], option) == (value if equals else "")
    assert not given(others, option)


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        pytest.param(["/mnt/models", "--dtype", "half"], ["--dtype", "half"], id="first"),
        pytest.param(["--model", "/mnt/models", "--dtype", "half"], ["--dtype", "half"], id="option"),
        pytest.param(["--dtype", "half", "--model=/mnt/models"], ["--dtype", "half"], id="equals-sign"),
        pytest.param(["--model", "/mnt/models", "x"], ["x"], id="what-is-no-value-of-it-stays"),
        pytest.param(["--model-impl", "auto"], ["--model-impl", "auto"], id="another-option"),
        pytest.param(["--dtype=half", "--", "/mnt/models"], ["--dtype=half"], id="after-two-hyphens"),
        pytest.param([], [], id="none"),
    ],
)
def test_the_model_is_left_to_the_launcher(arguments: list[str], left: list[str]) -> None:
    assert without_model(arguments) == left
