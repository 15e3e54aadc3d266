"""What is written to standard output and standard error: never a traceback because of where it goes."""

import errno
import os
import sys
from collections.abc import Callable
from typing import Final, TextIO

from vllm_multinode.contract.exit_codes import ExitCode

CLOSED: Final = 141
"""The reader has gone, as after `| head`: what a shell says of a program that SIGPIPE has ended."""


def guarded(run: Callable[[], int]) -> int:
    """Run a command to its last byte of output.

    Returns:
        What it returns; CLOSED where its reader has gone, NOT_WRITABLE where what it is written to is full.
    """
    for stream in (sys.stdout, sys.stderr):
        _take_every_character(stream)
    output = sys.stdout
    try:
        try:
            code = run()
        except SystemExit:
            if sys.stdout is not output:
                # click exits with 1 if the reader has gone, and replaces this stream.
                _drop(output)
                return CLOSED
            # argparse exits after its help.
            output.flush()
            raise
        output.flush()
    except BrokenPipeError:
        _drop(output)
        return CLOSED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO) or error.filename is not None:
            raise
        _drop(output)
        sys.stderr.write(f"multinode: standard output cannot be written: {error.strerror}.\n")
        return ExitCode.NOT_WRITABLE
    return code


def _take_every_character(stream: TextIO) -> None:
    """Write what an encoding lacks as its escape."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _drop(stream: TextIO) -> None:
    """Let what is still in the buffer go nowhere, so that the interpreter does not try again when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
