"""scripts/generate [--check] [NAME...]: writes the files that are generated, or names what would change."""

import argparse
import importlib
import inspect
import sys
from collections.abc import Sequence
from typing import Final

from generators.repository import ROOT, AbsentError, Files

# In this order: the Template is made of what the two before it write.
USUAL: Final = (
    *(
        "components",
        "manifests",
        "template",
        "rules",
        "causes",
        "exit_codes",
        "runbook",
        "commands",
        "addresses",
        "variables",
        "spec",
        "gitops",
        "architectures",
        "overlays",
    ),
    "convert",
    "coming_from",
)
# These read what is seldom at hand, and only by name.
BY_NAME: Final = ("model_defaults", "kserve_fields", "vllm_options")


def main(arguments: Sequence[str]) -> int:
    """Run the generators; 1 where --check has found a difference."""
    given = _parser().parse_args(arguments)
    stale = 0
    for name in given.names or USUAL:
        try:
            files = _files(name, given)
        except AbsentError as error:
            print(f"{name}: left out: {error}")
            if given.names:
                return 2
            continue
        stale += _write(files, check=given.check)
    return int(given.check and stale > 0)


def _files(name: str, given: argparse.Namespace) -> Files:
    make = importlib.import_module(f"generators.{name}").files
    wanted = {key: value for key, value in vars(given).items() if key in inspect.signature(make).parameters}
    found: Files = make(**wanted)
    return found


def _write(files: Files, *, check: bool) -> int:
    """Write what differs, or only name it; returns how many files did."""
    stale = 0
    for path, text in files.items():
        if (path.read_text(encoding="utf-8") if path.is_file() else None) == text:
            continue
        stale += 1
        print(f"{path.relative_to(ROOT)} {'differs' if check else 'written' if text else 'removed'}")
        if check:
            continue
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return stale


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/generate", description=__doc__)
    names = f"{', '.join(USUAL)}, which is what runs without a name; {', '.join(BY_NAME)}"
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *USUAL, *BY_NAME], help=names)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where a file differs")
    parser.add_argument("--vllm", metavar="FOLDER", help="vLLM's package folder, for architectures")
    parser.add_argument("--vllm-version", metavar="VERSION", help="its version")
    parser.add_argument("--kserve-clone", metavar="FOLDER", help="a git clone of KServe with its tags")
    parser.add_argument(
        "--openshift-ai-clone", metavar="FOLDER", help="one of OpenShift AI's KServe with its branches"
    )
    parser.add_argument("--lws", metavar="FOLDER", help="sources of LeaderWorkerSet")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
