"""A process that has imported vLLM, and is forked for each engine; `launcher.warm` runs this source.

Its arguments are the descriptor of a socket and the modules to import. It says on the socket once that it is
ready, or which module made it unfit to be forked, and then serves one request after the other. A message is
four bytes of length and JSON; a request carries three descriptors: standard output, standard error, and a
pipe on which one byte lets the new process begin.

    {"ready": true} or {"unfit": why, "module": name}
    {"argv": […], "environment": {…}, "code": source, "title": text, "parent": process} -> {"pid": process}
"""

import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

_LENGTH: Final = struct.Struct("!I")
_DESCRIPTORS: Final = 3
_PR_SET_PDEATHSIG: Final = 1
_ADOPTION: Final = 10.0
"""Seconds within which the supervisor becomes the new process's parent."""
_POLL: Final = 0.002
# A process that has one of these open holds a context on an accelerator, which does not survive a fork.
# /dev/nvidiactl is not among them: asking the driver for names and counts opens it, and holds no memory.
_DEVICES: Final = ("/dev/nvidia-uvm", "/dev/kfd", "/dev/dri/", "/dev/accel", "/dev/habana", "/dev/davinci")


def unfit() -> str:
    """Why a fork of this process would not be whole; nothing where it would be."""
    threads = [Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in _tasks()]
    if threads:
        return f"it has {len(threads)} threads more ({', '.join(sorted(set(threads)))}), which a fork loses"
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith(_DEVICES):
            return f"it holds {target}, and a context on an accelerator does not survive a fork"
    torch = sys.modules.get("torch")
    for name in ("cuda", "xpu"):
        device = getattr(torch, name, None)
        if device is not None and device.is_initialized():
            return f"torch.{name} is initialized, and its context does not survive a fork"
    return ""


def _tasks() -> list[str]:
    own = str(os.getpid())
    return [task.name for task in Path("/proc/self/task").iterdir() if task.name != own]


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    text = json.dumps(message).encode()
    channel.sendall(_LENGTH.pack(len(text)) + text)


def _receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next request and its descriptors; ends the process where the supervisor is gone."""
    data, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, _DESCRIPTORS)
    while len(data) < _LENGTH.size:
        data += _more(channel, _LENGTH.size - len(data))
    (length,) = _LENGTH.unpack(data)
    text = b""
    while len(text) < length:
        text += _more(channel, length - len(text))
    return json.loads(text), descriptors


def _more(channel: socket.socket, count: int) -> bytes:
    data = channel.recv(count)
    if not data:
        os._exit(0)
    return data


def _import(channel: socket.socket, modules: list[str]) -> None:
    """Import them one after the other; ends the process where one leaves it unfit."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - whatever another version of vLLM raises
            sys.stderr.write(f"{module} is left out of the warm process: {error}\n")
        if why := unfit():
            _send(channel, {"unfit": why, "module": module})
            os._exit(0)


def _serve(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork for each request; returns in the new process only, whose parent the supervisor will be."""
    while True:
        request, descriptors = _receive(channel)
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            between = os.fork()
        except OSError as error:
            _send(channel, {"error": error.strerror})
            continue
        finally:
            # Not in the new process: it needs them.
            if "between" not in locals() or between:
                for descriptor in descriptors:
                    os.close(descriptor)
        if between == 0:
            return _orphan(channel, request), descriptors
        os.waitpid(between, 0)


def _orphan(channel: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    """Fork again and end, so that the supervisor adopts the engine, which then outlives this process."""
    try:
        inner = os.fork()
    except OSError as error:
        _send(channel, {"error": error.strerror})
        os._exit(0)
    if inner:
        os._exit(0)
    os.setsid()
    _send(channel, {"pid": os.getpid()})
    channel.close()
    return request


def _become(request: dict[str, Any], descriptors: list[int]) -> None:
    """Take on what an exec would give: output, arguments, environment, title, and the end with the parent."""
    output, errors, go = descriptors
    if os.read(go, 1) != b"1":
        os._exit(1)
    deadline = time.monotonic() + _ADOPTION
    while os.getppid() != request["parent"] and time.monotonic() < deadline:
        time.sleep(_POLL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != request["parent"]:
        os._exit(1)
    os.dup2(output, 1)
    os.dup2(errors, 2)
    for descriptor in descriptors:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[:] = request["argv"]
    _title(request["title"])


def _title(title: str) -> None:
    try:
        importlib.import_module("setproctitle").setproctitle(title)
    except ImportError:
        return


def main() -> NoReturn:
    """Import, and be forked; what a fork runs ends it."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    _import(channel, sys.argv[2:])
    _title("warm-engine")
    gc.collect()
    # What was imported stays where it is: shared between this process and its forks.
    gc.freeze()
    _send(channel, {"ready": True})
    request, descriptors = _serve(channel)
    _become(request, descriptors)
    exec(compile(request["code"], request["argv"][0], "exec"), {"__name__": "__main__"})  # noqa: S102 - the supervisor's
    sys.exit(0)


if __name__ == "__main__":
    main()
