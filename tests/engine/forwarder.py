"""A small forwarder before heads: one request a connection, each to the next head, held back where asked."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from itertools import cycle

_END = 60.0


@contextlib.contextmanager
def forwarding(heads: Sequence[str], delay: float = 0.0) -> Iterator[str]:
    """Its URL, while the block runs.

    Args:
        heads: URLs, each taken in its turn.
        delay: seconds that each request is held back.
    """
    loop = asyncio.new_event_loop()
    turns = cycle(heads)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1 << 16)
        host, _, port = next(turns).removeprefix("http://").partition(":")
        await asyncio.sleep(delay)
        if not first:
            writer.close()
            return
        to_reader, to_writer = await asyncio.open_connection(host, int(port))
        to_writer.write(first.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        await asyncio.gather(_pump(reader, to_writer), _pump(to_reader, writer))

    async def open_server() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    async def end(server: asyncio.Server) -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = loop.run_until_complete(open_server())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(end(server), loop).result(_END)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_END)
        loop.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
