"""`multinode fetch`: fill a claim. Like the roles it needs neither click nor rich: an image may lack both."""

import argparse
import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.numbers import is_count
from vllm_multinode.launcher.logs import log_to_stderr

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_ABOUT: Final = """Download a model into a directory, such as a mounted claim, and check that it is complete.
A run that was broken off goes on where it was; one over a whole directory ends at once."""
_SOURCES: Final = """sources:
  hf://org/name[@revision]           the Hugging Face Hub or a mirror; HF_TOKEN or HF_TOKEN_PATH, HF_ENDPOINT
  s3://bucket/prefix                 AWS, MinIO, Ceph; what boto3 reads, AWS_ENDPOINT_URL
  oci://registry/repository:tag      an image with a model below /models; REGISTRY_AUTH_FILE or DOCKER_CONFIG
  file:///directory                  another claim, mounted there

examples:
  multinode fetch hf://meta-llama/Llama-3.3-70B-Instruct /mnt/models/llama
  multinode fetch s3://models/llama /mnt/models/llama --parallel 8"""


class _Parser(argparse.ArgumentParser):
    """A mistake is one line, as everywhere."""

    def error(self, message: str) -> NoReturn:
        raise MultinodeError(ExitCode.USAGE, f"{message}.", hint="See `multinode fetch --help`.")

    def print_help(self, file: "SupportsWrite[str] | None" = None) -> None:
        """As argparse does, which ignores that the output is full."""
        (file or sys.stdout).write(self.format_help())


def main(arguments: tuple[str, ...]) -> ExitCode:
    """Run the command; what is wrong is one line on stderr."""
    try:
        given = parser().parse_args(arguments)
        log_to_stderr()
        signal.signal(signal.SIGTERM, _interrupt)
        return _fetch(given)
    except MultinodeError as error:
        sys.stderr.write(f"multinode: {error} (exit code {error.code.value})\n")
        return error.code
    except KeyboardInterrupt:
        sys.stderr.write("multinode: stopped; run it again to resume.\n")
        sys.stderr.flush()
        # Threads that wait for a server would hold the process for as long as they may.
        os._exit(ExitCode.INTERRUPTED)


def _fetch(given: argparse.Namespace) -> ExitCode:
    # Late, so that --help answers at once.
    from vllm_multinode.storage.fetch import Options, fetch
    from vllm_multinode.storage.sources.open import open_source

    began = time.monotonic()
    options = Options(
        include=tuple(given.include),
        exclude=tuple(given.exclude),
        parallel=given.parallel,
        every=given.progress,
        refresh=given.refresh,
        sizes_only=given.sizes_only,
        owner=os.environ.get(env.POD_NAME) or socket.gethostname(),
    )
    marker = fetch(open_source(given.source, os.environ), given.directory.absolute(), options)
    sys.stdout.write(
        f"{given.directory} is whole: {marker.source} at {marker.revision.removeprefix('sha256:')[:12]}, "
        f"{len(marker.files)} files, {marker.bytes / 2**30:.2f} GiB ({time.monotonic() - began:.0f} s)\n"
    )
    return ExitCode.OK


def parser() -> argparse.ArgumentParser:
    """Of its command line."""
    made = _Parser(
        prog="multinode fetch",
        description=_ABOUT,
        epilog=_SOURCES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("source", metavar="SOURCE", help="where the model is; see below")
    made.add_argument(
        "directory", metavar="DIRECTORY", type=_directory, help="target directory; created if needed"
    )
    made.add_argument(
        "--include",
        metavar="PATTERN",
        action="append",
        default=[],
        help="fetch only matching names, instead of the files that vLLM loads; repeatable",
    )
    made.add_argument(
        "--exclude",
        metavar="PATTERN",
        action="append",
        default=[],
        help="skip matching names; repeatable",
    )
    made.add_argument(
        "--parallel", metavar="N", type=_count, default=4, help="files to fetch at the same time (4)"
    )
    made.add_argument(
        "--progress",
        metavar="SECONDS",
        type=_count,
        default=30,
        help="seconds between two lines of progress (30)",
    )
    made.add_argument(
        "--refresh",
        action="store_true",
        help="query the source even if the directory is complete, and fetch what changed",
    )
    made.add_argument("--sizes-only", action="store_true", help="compare sizes, not checksums")
    return made


def _directory(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return Path(text)


def _count(text: str) -> int:
    if not is_count(text) or not 0 < int(text) <= 3600:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 to 3600")
    return int(text)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM, as a Job that is deleted gets it: as Ctrl-C."""
    raise KeyboardInterrupt
