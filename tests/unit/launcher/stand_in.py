"""Stands in for `vllm serve`: serves what the supervisor asks of its API, exits, or hangs.

STAND_IN says which. `hang-once` leaves a file behind, and serves when it is started again. `leak` answers,
and counts a request that nobody sent. With vLLM's options for it, it speaks TLS and asks for a certificate.
"""

import http.server
import json
import os
import ssl
import sys
import time
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    running = 0
    load = 0
    hangs = False

    def do_GET(self) -> None:
        answers = {
            "/health": "",
            "/v1/models": json.dumps({"data": [{"id": "llm"}]}),
            "/load": json.dumps({"server_load": self.load or self.running}),
            "/metrics": f"vllm:num_requests_running {self.running}.0\nvllm:generation_tokens_total 7.0\n",
        }
        payload = answers[self.path].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if Handler.hangs:
            time.sleep(600)
        sys.stdout.write(f"stand-in: asked for {self.path}\n")
        sys.stdout.flush()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

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
        Handler.hangs = not hung.exists()
        Handler.running = int(Handler.hangs)
        hung.touch()
    Handler.load = int(mode == "leak")
    # As vLLM has: another process, which outlives its parent if nobody ends it.
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    if "--headless" in sys.argv:
        time.sleep(600)
    address = ("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1]))
    server = http.server.ThreadingHTTPServer(address, Handler)
    if "--ssl-certfile" in sys.argv:
        server.socket = context().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


def context() -> ssl.SSLContext:
    def given(option: str) -> str:
        return sys.argv[sys.argv.index(option) + 1]

    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(given("--ssl-certfile"), given("--ssl-keyfile"))
    found.load_verify_locations(given("--ssl-ca-certs"))
    found.verify_mode = ssl.VerifyMode(int(given("--ssl-cert-reqs")))
    return found


main()
