"""Stands in for `ray start --block`: the head counts the accelerators of all nodes, which the others tell it.

As Ray does, each leaves a process behind that is not its child.
"""

import os
import signal
import socket
import socketserver
import sys
import threading


def option(name: str) -> str:
    return next(argument.partition("=")[2] for argument in sys.argv if argument.startswith(f"{name}="))


class Handler(socketserver.StreamRequestHandler):
    accelerators = 0
    lock = threading.Lock()

    def handle(self) -> None:
        said = self.rfile.readline().split()
        if said == [b"count"]:
            self.wfile.write(b"%d\n" % Handler.accelerators)
        elif said:
            with Handler.lock:
                Handler.accelerators += int(said[1])
            # Until the node is gone.
            self.rfile.read()
            with Handler.lock:
                Handler.accelerators -= int(said[1])


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    # Every address of both families.
    address_family = socket.AF_INET6
    daemon_threads = True


def leave_a_daemon() -> None:
    if os.fork() == 0:
        os.setsid()
        if os.fork() > 0:
            os._exit(0)
        while True:
            signal.pause()
    os.wait()


def accept(listener: socket.socket) -> None:
    while True:
        listener.accept()[0].close()


def main() -> None:
    leave_a_daemon()
    if "--head" in sys.argv:
        Handler.accelerators = int(option("--num-gpus"))
        # The raylet's port, by which it is known to answer.
        address = ("::", int(option("--node-manager-port")))
        raylet = socket.create_server(address, family=socket.AF_INET6, dualstack_ipv6=True)
        threading.Thread(target=accept, args=(raylet,), daemon=True).start()
        Server(("::", int(option("--port"))), Handler).serve_forever()
    host, _, port = option("--address").rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as gcs:
        gcs.settimeout(None)
        gcs.sendall(f"join {option('--num-gpus')}\n".encode())
        gcs.recv(1)
    sys.exit("the connection to the GCS ended")


main()
