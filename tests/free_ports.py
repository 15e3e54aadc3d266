"""Ports for servers that a test starts a little later."""

import random
import socket
from contextlib import suppress
from pathlib import Path


def free_port() -> int:
    """A port that nobody listens on, out of the range that connections to elsewhere take theirs from."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, first)
        with suppress(OSError), socket.create_server(("", port)):
            return port
