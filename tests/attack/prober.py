"""Asks `/live` and `/ready` by turns, as a kubelet does, until its standard input ends.

Arguments: host, port. Prints JSON: how often it asked, the slowest answer in seconds, how often `/ready` was
not 200, and the slowest answer of the control: the barest server there is, in a process of its own, which
nobody attacks. Where that one is late, the machine is, not the head. Standard library only, so that it starts
at once.
"""

import http.client
import http.server
import json
import os
import select
import signal
import sys
import time

_PAUSE = 0.05
_TIMEOUT = 10.0


class _Control(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    host, port = sys.argv[1], int(sys.argv[2])
    server = http.server.HTTPServer((host, 0), _Control)
    control = os.fork()
    if control == 0:
        server.serve_forever()
    try:
        found = _ask_until_told(host, port, server.server_port)
    finally:
        os.kill(control, signal.SIGKILL)
        os.waitpid(control, 0)
    print(json.dumps(found))


def _ask_until_told(host: str, port: int, control: int) -> dict[str, float]:
    asked = not_ready = 0
    slowest = {port: 0.0, control: 0.0}
    while not select.select([sys.stdin], [], [], _PAUSE)[0]:
        for where, path in ((port, "/live"), (control, "/"), (port, "/ready")):
            began = time.perf_counter()
            status = _ask(host, where, path)
            slowest[where] = max(slowest[where], time.perf_counter() - began)
            asked += where == port
            not_ready += path == "/ready" and status != 200
    return {"asked": asked, "slowest": slowest[port], "control": slowest[control], "not_ready": not_ready}


def _ask(host: str, port: int, path: str) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


if __name__ == "__main__":
    main()
