"""Stands in for `vllm serve`: serves what the supervisor asks of its API, exits, or hangs.

STAND_IN says which. `hang-once` leaves a file behind, and serves when it is started again.
"""

import http.server
import json
import os
import sys
import time
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    running = 0

    def do_GET(self) -> None:
        answers = {
            "/health": "",
            "/load": json.dumps({"server_load": self.running}),
            "/metrics": f"vllm:num_requests_running {self.running}.0\nvllm:generation_tokens_total 7.0\n",
        }
        payload = answers[self.path].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    sys.stdout.write(f"stand-in: {' '.join(sys.argv[1:])}\n")
    sys.stdout.flush()
    mode = os.environ["STAND_IN"]
    if mode == "exit":
        sys.stderr.write("(APIServer pid=11) RuntimeError: no room for the KV cache\n")
        sys.exit(1)
    if mode == "refuse":
        sys.stderr.write("vllm: error: unrecognized arguments: --sed 1\n")
        sys.exit(2)
    if mode == "hang-once":
        hung = Path(os.environ["STAND_IN_HUNG"])
        Handler.running = int(not hung.exists())
        hung.touch()
    # As vLLM has: another process, which outlives its parent if nobody ends it.
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    if "--headless" in sys.argv:
        time.sleep(600)
    address = ("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1]))
    http.server.ThreadingHTTPServer(address, Handler).serve_forever()


main()
