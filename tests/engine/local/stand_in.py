#!/usr/bin/env python3
"""A pod's program for tests of the local runner: says what it sees, and ends on SIGTERM.

GET /status as a supervisor answers, /resolve/NAME, /reach/ADDRESS, /list/DIRECTORY, or else what it sees.
"""

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path


def seen() -> dict[str, object]:
    shared_memory = os.statvfs("/dev/shm")
    models = Path("/mnt/models")
    return {
        "argv": sys.argv[1:],
        "env": dict(os.environ),
        "pid": os.getpid(),
        "uid": os.getuid(),
        "processes": sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()),
        "cpus": sorted(os.sched_getaffinity(0)),
        "hostname": socket.gethostname(),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "hosts": Path("/etc/hosts").read_text(),
        "resolver": Path("/etc/resolv.conf").read_text(),
        "ports": Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split(),
        "tmp": sorted(entry.name for entry in Path("/tmp").iterdir()),
        "shared_memory": shared_memory.f_blocks * shared_memory.f_frsize,
        "models": sorted(entry.name for entry in models.iterdir()) if models.is_dir() else None,
        "models_read_only": bool(os.statvfs(models).f_flag & os.ST_RDONLY) if models.is_dir() else None,
    }


def reached(address: str) -> bool:
    try:
        socket.create_connection((address, 8081), timeout=0.5).close()
    except OSError:
        return False
    return True


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        _, what, *rest = self.path.split("/")
        if what == "status":
            body: object = {"role": "head", "state": "serving", "reason": "", "epoch": 1, "rank": 0}
        elif what == "resolve":
            body = socket.gethostbyname_ex(rest[0])[2]
        elif what == "reach":
            body = reached(rest[0])
        elif what == "list":
            body = sorted(entry.name for entry in Path("/", *rest).iterdir())
        else:
            body = seen()
        payload = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if code := os.environ.get("STAND_IN_EXIT"):
        Path("/dev/termination-log").write_text("the stand-in was told to end.")
        sys.exit(int(code))
    Path("/tmp/mine").touch()
    Path(f"/tmp/start-{len(list(Path('/tmp').glob('start-*')))}").touch()
    # More than one process, so that a kill or a freeze of the first one alone would show.
    subprocess.Popen(["sleep", "1000"])
    sys.stdout.write("the stand-in is up\n")
    sys.stdout.flush()
    servers = [http.server.ThreadingHTTPServer(("", port), Handler) for port in (8080, 8081)]
    threading.Thread(target=servers[1].serve_forever, daemon=True).start()
    servers[0].serve_forever()


main()
