"""Python files are read, never run."""

from pathlib import Path

import pytest

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.convert import convert
from vllm_multinode.convert.python_source import read_python

COURSE = """
open({marker!r}, "w").write("it ran")
from ray import serve
from vllm import LLM
SIZE = 2
@serve.deployment(num_replicas=3)
class Server:
    def __init__(self):
        self.llm = LLM("org/name", tensor_parallel_size=SIZE, pipeline_parallel_size={pipeline})
"""


def test_literals_and_named_constants_are_read_and_nothing_runs(tmp_path: Path) -> None:
    marker, file = tmp_path / "ran", tmp_path / "serve.py"
    file.write_text(COURSE.format(marker=str(marker), pipeline=2))
    conversion = convert(read_python(file, "serve.py"))
    fields = conversion.services[0].fields
    assert fields["parallelism"] == {"tensor": 2, "pipeline": 2}
    assert (fields["model"]["source"], fields["replicas"]) == ("hf://org/name", 3)
    assert not marker.exists()


@pytest.mark.parametrize(
    "pipeline",
    [
        pytest.param("int(os.environ['PP'])", id="call"),
        pytest.param("pp", id="unknown-name"),
        pytest.param("1 + 1", id="expression"),
    ],
)
def test_what_only_a_run_would_tell_is_refused_by_name(tmp_path: Path, pipeline: str) -> None:
    file = tmp_path / "serve.py"
    file.write_text(COURSE.format(marker="", pipeline=pipeline))
    conversion = convert(read_python(file, "serve.py"))
    assert conversion.services == ()
    assert "pipeline_parallel_size: no literal" in conversion.refused[0]


def test_the_config_of_ray_serves_own_builder_is_read(tmp_path: Path) -> None:
    file = tmp_path / "serve.py"
    file.write_text(
        "config = LLMConfig(model_loading_config=dict(model_id='m', model_source='org/name'),"
        " engine_kwargs={'tensor_parallel_size': 8}, deployment_config=dict(num_replicas=2))"
    )
    fields = convert(read_python(file, "serve.py")).services[0].fields
    assert fields["model"]["source"] == "hf://org/name"
    assert (fields["parallelism"]["tensor"], fields["replicas"]) == (8, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(b"def f(:", "is not Python", id="syntax"),
        pytest.param(b"\xff\xfe", "is not Python", id="not-text"),
        pytest.param(b"#" * ((1 << 20) + 1), "too large", id="huge"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, text: bytes, said: str) -> None:
    file = tmp_path / "serve.py"
    file.write_bytes(text)
    with pytest.raises(MultinodeError, match=said):
        read_python(file, "serve.py")


def test_a_file_without_an_engine_names_the_fields_to_fill_in(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text("print('hello')")
    assert "tensor_parallel_size" in convert(read_python(file, "app.py")).refused[0]
