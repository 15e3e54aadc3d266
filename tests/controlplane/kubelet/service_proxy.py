"""Runs a Pod's program with Services' addresses on its loopback: `service_proxy.py FILE PROGRAM...`.

What kube-proxy does for Services with an address of their own, in user space.
"""

import asyncio
import contextlib
import json
import os
import random
import sys
from pathlib import Path

POLL = 0.1
CHUNK = 65536


async def keep(file: Path) -> None:
    """Listen at every address that has endpoints; at one without, connections are refused.

    Args:
        file: JSON with a list of `host:port` by `address:port`; it may change.
    """
    listening: dict[str, asyncio.Server] = {}
    endpoints: dict[str, list[str]] = {}

    def handler(address: str) -> "asyncio.streams._ClientConnectedCallback":
        async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, IndexError):
                host, port = random.choice(endpoints[address]).split(":")
                there, back = await asyncio.open_connection(host, int(port))
                await asyncio.gather(copy(reader, back), copy(there, writer))
            writer.close()

        return lead

    while True:
        with contextlib.suppress(OSError):
            endpoints = json.loads(file.read_text())  # noqa: ASYNC240 - small, and in memory
        wanted = {address for address, found in endpoints.items() if found}
        for address in wanted - listening.keys():
            host, port = address.split(":")
            listening[address] = await asyncio.start_server(handler(address), host, int(port))
        for address in listening.keys() - wanted:
            listening.pop(address).close()
        await asyncio.sleep(POLL)


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Until the source hangs up."""
    with contextlib.suppress(OSError):
        while chunk := await source.read(CHUNK):
            target.write(chunk)
            await target.drain()
    target.close()


def main(file: str, *program: str) -> None:
    """Listen in a child, and become the program."""
    if os.fork() == 0:
        asyncio.run(keep(Path(file)))
    os.execv(program[0], program)


if __name__ == "__main__":
    main(*sys.argv[1:])
