"""Logs as engines write them, and as kubectl passes them on: arguments, and every worker's figures."""

import pytest

from unit.sizing.models import DATA
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.sizing.planner.engine_log import EngineLog, read_log

ARGUMENTS = "non-default args: {'model': 'org/model', 'max_model_len': 8192, 'gpu_memory_utilization': 0.95}"
CONFIG = (
    "Initializing a V1 LLM engine (v0.19.0) with config: model='org/model', speculative_config=None, "
    "max_seq_len=8192, tensor_parallel_size=2, pipeline_parallel_size=2, enforce_eager=False, "
    "kv_cache_dtype=auto, enable_prefix_caching=True"
)
STAMP = "INFO 11-21 10:59:09 [core.py:96]"
POD = "[pod/llm-predictor-0/kserve-container] 2026-11-21T10:59:09.123456789Z "


def log(*lines: str) -> EngineLog:
    return read_log(lines, "a.log")


@pytest.mark.parametrize(
    ("line", "part", "value"),
    [
        pytest.param("Model loading took 14.99 GiB memory and 3.2 seconds", "weights", 14.99, id="v0.19"),
        pytest.param("Model loading took 14.99 GiB and 3.2 seconds", "weights", 14.99, id="second-runner"),
        pytest.param("Loading model weights took 14.9888 GB", "weights", 14.9888, id="v0.6"),
        pytest.param("Available KV cache memory: 58.11 GiB", "available", 58.11, id="available"),
        pytest.param("Available KV cache memory: -1.44 GiB", "available", -1.44, id="negative"),
        pytest.param("Graph capturing finished in 9 secs, took 0.91 GiB", "graphs", 0.91, id="graphs"),
        pytest.param("Estimated CUDA graph memory: 0.84 GiB total", "graphs", 0.84, id="graphs-estimated"),
    ],
)
def test_a_figure_as_versions_log_it(line: str, part: str, value: float) -> None:
    assert getattr(log(f"{STAMP} {line}").workers[0], part) == value


def test_one_line_that_has_every_part() -> None:
    found = log(
        "Free memory on device (78.6/79.19 GiB) on startup. Desired GPU memory utilization is (0.95, 75.23 "
        "GiB). Actual usage is 14.99 GiB for weight, 1.89 GiB for peak activation, 0.25 GiB for non-torch "
        "memory, and 0.91 GiB for CUDAGraph memory."
    ).workers[0]
    assert (found.total, found.weights, found.activations, found.reserve) == (79.19, 14.99, 1.89, 0.25)


def test_what_the_engine_was_given_and_what_it_resolved() -> None:
    found = log(f"{STAMP} {ARGUMENTS}", f"{STAMP} {CONFIG}", "GPU KV cache size: 475,984 tokens")
    assert found.version == "0.19.0"
    assert found.number("gpu_memory_utilization") == 0.95
    assert found.number("tensor_parallel_size") == 2
    assert found.flag("enable_prefix_caching") is True
    assert found.text("model") == "org/model"
    assert found.tokens == 475984


def test_the_newest_form_has_both_figures_in_one_line() -> None:
    found = log("GPU KV cache size: 1,075 tokens, Maximum concurrency for 8,192 tokens per request: 0.13x")
    assert (found.tokens, found.concurrency) == (1075, (8192, 0.13))


def test_colours_time_stamps_and_pods_stand_before_a_line() -> None:
    found = log(
        f"{POD}\x1b[0;36m(Worker_PP0_TP0 pid=60)\x1b[0;0m {STAMP} Model loading took 7.51 GiB memory and 3 s",
        f"{POD}(Worker_PP1_TP0 pid=61) {STAMP} Model loading took 7.52 GiB memory and 3 s",
        f"{POD}(Worker_PP0_TP0 pid=60) {STAMP} Available KV cache memory:\x1b[1m 66.54\x1b[0m GiB",
    )
    assert [(worker.name, worker.weights, worker.available) for worker in found.workers] == [
        ("llm-predictor-0 Worker_PP0_TP0", 7.51, 66.54),
        ("llm-predictor-0 Worker_PP1_TP0", 7.52, None),
    ]


def test_workers_of_ray_are_told_apart_by_address() -> None:
    found = log(
        "(RayWorkerWrapper pid=7, ip=10.0.0.1) Model loading took 7.51 GiB memory and 3 s",
        "(RayWorkerWrapper pid=7, ip=10.0.0.2) Model loading took 7.52 GiB memory and 3 s",
    )
    assert [worker.weights for worker in found.workers] == [7.51, 7.52]


def test_why_an_engine_did_not_start() -> None:
    found = log(
        "ValueError: To serve at least one request with the model's max seq len (32000), (7.81 GiB KV cache "
        "is needed, which is larger than the available KV cache memory (4.45 GiB)."
    )
    assert found.refused.startswith("To serve at least one request")
    assert found.workers[0].available == 4.45


def test_the_last_of_several_starts_counts() -> None:
    sizes = ("Available KV cache memory: 9.5 GiB", "GPU KV cache size: 100 tokens")
    found = log(CONFIG, *sizes, CONFIG, "Available KV cache memory: 8.5 GiB", "GPU KV cache size: 90 tokens")
    assert found.tokens == 90
    assert found.workers[0].available == 8.5
    assert found.number("tensor_parallel_size") == 2


def test_a_real_log_of_two_nodes_on_cpus() -> None:
    """As vLLM 0.32.0 wrote it: objects among the arguments, both stages, blocks that were overridden."""
    with (DATA / "engine_logs" / "cpu-0.32.0-pp2.log").open() as lines:
        found = read_log(lines, "a.log")
    assert found.version == "0.32.0"
    assert (found.number("pipeline_parallel_size"), found.number("nnodes")) == (2, 2)
    assert (found.number("max_num_batched_tokens"), found.number("max_num_seqs")) == (512, 8)
    assert found.number("num_gpu_blocks_override") == 64
    assert found.text("device_config") == "cpu"
    assert [(worker.name, worker.available) for worker in found.workers] == [
        ("Worker_PP0", 1.0),
        ("Worker_PP1", 1.0),
    ]
    assert (found.tokens, found.concurrency) == (8192, (2048, 4.0))
    assert found.started


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        pytest.param([], "lacks the lines", id="empty"),
        pytest.param(["Starting", "\x00\xff" * 9], "lacks the lines", id="something-else"),
        pytest.param(["server_args=ServerArgs(model_path='x')"], "a log of SGLang", id="sglang"),
        pytest.param(["INFO text_generation_launcher: Args"], "Text Generation Inference", id="tgi"),
        pytest.param(["llama_model_loader: loaded"], "a log of llama.cpp", id="llama.cpp"),
        pytest.param([f"{STAMP} {ARGUMENTS}"], "lacks the lines", id="arguments-alone"),
    ],
)
def test_another_log_is_one_sentence(lines: list[str], says: str) -> None:
    with pytest.raises(MultinodeError) as refusal:
        log(*lines)
    assert refusal.value.code is ExitCode.LOG
    assert says in str(refusal.value)
    assert str(refusal.value).startswith("a.log: ")


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("(Worker" + "_" * 60_000, id="a-worker-without-an-end"),
        pytest.param("(EngineCore_a" * 5000, id="many-workers-without-an-end"),
        pytest.param("Initializing a LLM engine " * 2500, id="a-configuration-that-never-comes"),
        pytest.param("non-default args: {" * 3000, id="arguments-without-an-end"),
        pytest.param("9" * 60_000 + " GiB for weight", id="a-long-number"),
        pytest.param("1." * 30_000 + " GiB for weight,", id="a-number-with-many-points"),
        pytest.param("max_num_batched_tokens=" + "9" * 5000, id="a-long-count"),
    ],
)
def test_a_line_that_means_harm_takes_no_time(line: str) -> None:
    """Without bounds in its patterns each of these takes minutes, or ends with a traceback."""
    with pytest.raises(MultinodeError, match="the lines in which"):
        read_log([line] * 3, "a.log")
