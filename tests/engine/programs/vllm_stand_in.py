"""Stands in for the `vllm` command: forms as vLLM does, answers supervisor and clients, and misbehaves.

What it is told stands in CONTROL/NODE.json and is read again each time:

    start   the number of the start that all of it is meant for; for every start where that is absent
    refuse  [status, words]: say the words and exit with that status at once
    exit    status: exit with it now
    hold    completions are not answered while it is true
    stuck   no counter moves while it is true, and the scheduler does not know of any request
    load    added to what /load counts
    dead    /health answers 503
    pace    seconds that a completion takes, on average

Like vLLM it leaves a file in /dev/shm and a process that outlives it, and it does not end on SIGTERM.
"""

import http.server
import json
import mmap
import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

CONTROL = Path(os.environ["STAND_IN_CONTROL"])
NODE = os.environ["STAND_IN_NODE"]
POLL = 0.02
START = 1
"""Which start of this node's engine this is."""
KEPT: list[Any] = []
"""What must stay mapped or connected."""


def note_start() -> int:
    """Write the arguments down, and return how many starts there were with this one."""
    with (CONTROL / f"{NODE}.starts").open("a+") as starts:
        starts.write(json.dumps(sys.argv[1:]) + "\n")
        starts.seek(0)
        return len(starts.readlines())


def told() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((CONTROL / f"{NODE}.json").read_text())
    except FileNotFoundError:
        return {}
    return found if found.get("start", START) == START else {}


def option(name: str, default: str) -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


class Engine:
    """What there is to count."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requests = 0
        self.tokens = 0
        self.finished = 0
        self.looks = 0

    def load(self) -> int:
        return self.requests + int(told().get("load", 0))

    def metrics(self) -> str:
        stuck = told().get("stuck", False)
        with self.lock:
            self.looks += 1
            if self.requests and not stuck:
                self.tokens += 1
        running = 0 if stuck else self.requests
        counters = {"generation_tokens_total": self.tokens, "request_success_total": self.finished}
        lines = [f"vllm:{name} {value}.0\n" for name, value in counters.items()]
        return f"vllm:num_requests_running {running}.0\n{''.join(lines)}"

    def complete(self) -> None:
        with self.lock:
            self.requests += 1
        try:
            time.sleep(float(told().get("pace", 0)) * random.uniform(0.5, 1.5))
            while told().get("hold"):
                time.sleep(POLL)
        finally:
            with self.lock:
                self.requests -= 1
                self.finished += 1


class Handler(http.server.BaseHTTPRequestHandler):
    engine: Engine

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer("", 503 if told().get("dead") else 200)
        elif self.path == "/load":
            self.answer(json.dumps({"server_load": self.engine.load()}))
        elif self.path == "/metrics":
            self.answer(self.engine.metrics())
        elif self.path == "/v1/models":
            self.answer(json.dumps({"data": [{"id": option("--served-model-name", "none")}]}))
        elif self.path == "/looks":
            self.answer(json.dumps(self.engine.looks))

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.engine.complete()
        if asked.get("stream"):
            self.answer('data: {"choices": [{"text": "words"}]}\n\ndata: [DONE]\n\n')
            return
        sizes = f"tp{option('--tensor-parallel-size', '1')}-pp{option('--pipeline-parallel-size', '1')}"
        self.answer(json.dumps({"choices": [{"text": "words"}], "system_fingerprint": f"stand-in-{sizes}"}))

    def answer(self, text: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


def leave_traces() -> None:
    """A segment of shared memory, mapped, and a daemon that has left the session and the parent."""
    segment = os.open(f"/dev/shm/psm_{os.getpid()}", os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(segment, mmap.PAGESIZE)
    KEPT.append(mmap.mmap(segment, mmap.PAGESIZE))
    if os.fork() == 0:
        os.setsid()
        if os.fork() > 0:
            os._exit(0)
        while True:
            signal.pause()
    os.wait()


def form_with_mp(rank: int, nodes: int) -> None:
    """Return once every rank has said its number to rank 0."""
    address = (option("--master-addr", ""), int(option("--master-port", "0")))
    if rank > 0:
        while True:
            try:
                link = socket.create_connection(address, timeout=5)
            except OSError:
                time.sleep(POLL)
            else:
                link.sendall(bytes([rank]))
                KEPT.append(link)
                return
    listener = socket.create_server(("", address[1]), family=socket.AF_INET6, dualstack_ipv6=True)
    KEPT.append(listener)
    ranks: set[int] = set()
    while len(ranks) < nodes - 1:
        link, _ = listener.accept()
        KEPT.append(link)
        ranks.update(link.recv(1))


def form_with_ray(ranks: int) -> None:
    """Return once the nodes of the cluster hold as many accelerators as there are ranks."""
    host, _, port = os.environ["RAY_ADDRESS"].rpartition(":")
    while True:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as gcs:
            gcs.sendall(b"count\n")
            if int(gcs.makefile().readline()) >= ranks:
                return
        time.sleep(POLL)


def obey() -> None:
    while (status := told().get("exit")) is None:
        time.sleep(POLL)
    os._exit(status)


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    globals()["START"] = note_start()
    if refusal := told().get("refuse"):
        status, words = refusal
        sys.stderr.write(f"(EngineCore pid=7) {words}\n")
        sys.exit(status)
    leave_traces()
    threading.Thread(target=obey, daemon=True).start()
    if (nodes := int(option("--nnodes", "1"))) > 1:
        form_with_mp(int(option("--node-rank", "0")), nodes)
    elif option("--distributed-executor-backend", "") == "ray":
        form_with_ray(
            int(option("--tensor-parallel-size", "1")) * int(option("--pipeline-parallel-size", "1"))
        )
    if "--headless" in sys.argv:
        threading.Event().wait()
    Handler.engine = Engine()
    host = option("--host", "0.0.0.0")
    if ":" in host:
        http.server.ThreadingHTTPServer.address_family = socket.AF_INET6
    http.server.ThreadingHTTPServer.request_queue_size = 128
    api = http.server.ThreadingHTTPServer((host, int(option("--port", "8000"))), Handler)
    api.serve_forever()


main()
