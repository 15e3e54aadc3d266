"""The image without a container engine: its file is linted, its steps are run in a Python that plays it."""

import ast
import importlib.metadata
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unit.image.images import lose, run
from vllm_multinode.authoring.render.images import RELEASED

parser = pytest.importorskip("dockerfile_parse", reason="comes with the extra [dev]")

ROOT = Path(__file__).parents[3]
CONTAINERFILE = ROOT / "runtime" / "Containerfile"


def instructions() -> list[dict[str, Any]]:
    """Of the Containerfile, in order."""
    read = parser.DockerfileParser(fileobj=io.BytesIO(CONTAINERFILE.read_bytes()))
    return [one for one in read.structure if one["instruction"] != "COMMENT"]


def stage(number: int) -> list[dict[str, Any]]:
    """The instructions behind the number-th FROM, counted from the end with negative ones."""
    found = instructions()
    starts = [at for at, one in enumerate(found) if one["instruction"] == "FROM"]
    first = starts[number]
    later = [at for at in starts if at > first]
    return found[first : later[0] if later else None]


def steps(number: int) -> Iterator[list[str]]:
    """What a stage runs."""
    for one in stage(number):
        if one["instruction"] == "RUN":
            command = json.loads(one["value"])
            assert isinstance(command, list), "a step needs no shell"
            yield command


@pytest.fixture(scope="module")
def wheels(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made by the first stage's step."""
    source = tmp_path_factory.mktemp("source")
    for one in stage(-2):
        if one["instruction"] == "COPY":
            *names, target = one["value"].split()
            for name in names:
                copy(ROOT / name, source / target / ("" if target.endswith("/") else "."))
    made = tmp_path_factory.mktemp("wheel")
    for command in steps(-2):
        run(base, [str(made) if one == "/wheel" else one for one in command], cwd=source)
    return made


def copy(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def installed(image: Path) -> dict[str, str]:
    """Every distribution that the image's Python sees."""
    script = (
        "import importlib.metadata as m;"
        "print({d.metadata['Name']: d.version for d in m.distributions() if d.metadata['Name']})"
    )
    found = run(image, ["python3", "-c", script], cwd="/").stdout
    return dict(ast.literal_eval(found))


def ray_wheel(folder: Path) -> Path:
    """A wheel that is called Ray, so that nothing is downloaded."""
    folder.mkdir()
    info = "ray-2.60.1.dist-info"
    with zipfile.ZipFile(folder / "ray-2.60.1-py3-none-any.whl", "w") as archive:
        archive.writestr("ray/__init__.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: ray\nVersion: 2.60.1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return folder


def install(image: Path, wheels: Path, tmp_path: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """The last stage's step, with its paths moved under `tmp_path`."""
    opt = tmp_path / "opt"
    copied = [one["value"] for one in stage(-1) if one["instruction"] == "COPY"]
    assert copied == ["--from=wheel /wheel /src/runtime/install.py /opt/multinode/"]
    copy(wheels, opt)
    copy(ROOT / "runtime" / "install.py", opt)
    (command,) = steps(-1)
    places = {"/opt/multinode": str(opt), "/home/multinode": str(tmp_path / "home")}
    moved = [
        one.replace("/opt/multinode", str(opt)) if one.endswith(".py") else places.get(one, one)
        for one in command
    ]
    index = str(ray_wheel(tmp_path / "index"))
    given = {"UV_FIND_LINKS": index, "UV_NO_INDEX": "1", "PIP_FIND_LINKS": index, **more}
    return run(image, moved, environment=given, cwd=tmp_path)


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_this_package_and_ray_are_added_and_nothing_is_changed(
    image: Path, wheels: Path, tmp_path: Path, installer: str
) -> None:
    # pip is what the image has where uv is not on its path.
    path = {"PATH": f"{image}/bin:/usr/bin:/bin"}
    if installer == "uv":
        uv = shutil.which("uv")
        if uv is None:
            pytest.skip("there is no uv here")
        (image / "bin" / "uv").symlink_to(uv)
    before = installed(image)
    assert not {"click", "rich", "ray", "vllm-multinode"} & before.keys()
    install(image, wheels, tmp_path, **path)
    after = installed(image)
    assert after == {
        **before,
        "ray": "2.60.1",
        "vllm-multinode": importlib.metadata.version("vllm-multinode"),
    }
    home = tmp_path / "home"
    assert stat.S_IMODE(home.stat().st_mode) == 0o775
    assert home.stat().st_gid == 0 or os.geteuid() != 0


def test_a_base_that_has_ray_keeps_it(image: Path, wheels: Path, tmp_path: Path) -> None:
    info = next(image.glob("lib/python*/site-packages")) / "ray-2.99.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ray\nVersion: 2.99.0\n")
    said = install(image, wheels, tmp_path).stdout
    assert "added: vllm-multinode\n" in said
    assert installed(image)["ray"] == "2.99.0"


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        pytest.param("vllm-0.32.0.dist-info", "there is no vLLM in this image", id="no-vllm"),
        pytest.param("aiohttp-*.dist-info", "the base lacks aiohttp<4,>=3.10", id="too-old"),
    ],
)
def test_a_base_that_will_not_do_is_refused(
    image: Path, wheels: Path, tmp_path: Path, lost: str, said: str
) -> None:
    lose(image, lost)
    before = installed(image)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        install(image, wheels, tmp_path)
    assert said in caught.value.stderr
    assert "Traceback" not in caught.value.stderr
    assert installed(image) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["head"], "TENSOR_PARALLEL_SIZE", id="head"),
        pytest.param(["worker"], "HEAD_SVC", id="worker"),
        pytest.param(["fetch", "hf://org"], "DIRECTORY", id="fetch"),
        pytest.param(["plan"], "pip install 'vllm-multinode'", id="plan"),
    ],
)
def test_what_the_image_runs_needs_neither_click_nor_rich(
    image: Path, wheels: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    install(image, wheels, tmp_path)
    entrypoint = json.loads(next(one["value"] for one in stage(-1) if one["instruction"] == "ENTRYPOINT"))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(image, [*entrypoint, *arguments], cwd=tmp_path)
    assert said in caught.value.stderr
    assert "Traceback" not in caught.value.stderr


def test_the_health_check_asks_the_supervisor(image: Path, wheels: Path, tmp_path: Path) -> None:
    install(image, wheels, tmp_path)
    value = next(one["value"] for one in stage(-1) if one["instruction"] == "HEALTHCHECK")
    command = json.loads(value.partition(" CMD ")[2])
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(image, command, cwd=tmp_path, environment={"MULTINODE_SUPERVISOR_PORT": "9"})
    assert (caught.value.returncode, caught.value.stderr) == (1, "")


def test_the_file_is_linted() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint comes with the extra [dev]")
    found = subprocess.run(
        [hadolint, "--no-color", CONTAINERFILE], capture_output=True, text=True, check=False
    )
    assert found.stdout == ""


def test_every_base_has_a_release_and_the_releases_stand_in_one_place() -> None:
    text = CONTAINERFILE.read_text()
    images = [one["value"] for one in instructions() if one["instruction"] == "FROM" and "/" in one["value"]]
    assert [value.split(" AS ")[1] for value in images] == ["cuda", "rocm", "xpu", "cpu", "gaudi"]
    assert all("${VLLM}" in value or "${GAUDI}" in value for value in images)
    assert "latest" not in text
    assert text.count("0.32") == 1
    releases = dict(one["value"].split("=") for one in instructions() if one["instruction"] == "ARG")
    names = [value.split(" AS ")[0] for value in images]
    for name, value in releases.items():
        names = [one.replace(f"${{{name}}}", value) for one in names]
    assert set(names) == set(RELEASED.values()), "the same as the launcher is mounted into"


def test_it_runs_as_any_user() -> None:
    users = [one["value"] for one in stage(-1) if one["instruction"] == "USER"]
    assert users[-1] == "1001:0"
    environment = [one["value"] for one in stage(-1) if one["instruction"] == "ENV"]
    assert environment == ["HOME=/home/multinode"]
