"""Runs a Pod's program with the Kubernetes API on the Pod's own loopback: `relay.py SOCKET PORT PROGRAM...`.

No route leads out of the local nodes' network; a socket in a folder does.
"""

import os
import socket
import sys
import threading

CHUNK = 65536


def serve(listener: socket.socket, path: str, port: int) -> None:
    """Pass every connection on to the API server, through the control plane's proxy."""
    while True:
        client = listener.accept()[0]
        threading.Thread(target=lead, args=(client, path, port), daemon=True).start()


def lead(client: socket.socket, path: str, port: int) -> None:
    """One connection."""
    with client, socket.socket(socket.AF_UNIX) as proxy:
        proxy.connect(path)
        proxy.sendall(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            if not (byte := proxy.recv(1)):
                return
            answer += byte
        back = threading.Thread(target=copy, args=(proxy, client), daemon=True)
        back.start()
        copy(client, proxy)
        back.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    """Until the source hangs up."""
    try:
        while chunk := source.recv(CHUNK):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def main(path: str, port: str, *program: str) -> None:
    """Listen in a child, and become the program."""
    listener = socket.create_server(("127.0.0.1", int(port)))
    if os.fork() == 0:
        serve(listener, path, int(port))
    listener.close()
    os.execv(program[0], program)


if __name__ == "__main__":
    main(*sys.argv[1:])
