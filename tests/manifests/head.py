"""Stands in for a head: `head.py ADDRESS PORT SECONDS` answers a completion after some SECONDS."""

import asyncio
import random
import sys

from aiohttp import web


class Head:
    """Counts what it has answered."""

    def __init__(self, seconds: float) -> None:
        self.answered = 0
        self._seconds = seconds

    async def complete(self, request: web.Request) -> web.Response:
        """A completion."""
        asked = await request.json()
        # Answers of one length would keep step with each other.
        await asyncio.sleep(self._seconds * random.uniform(0.5, 1.5))
        self.answered += 1
        if asked["stream"]:
            return web.Response(text="data: [DONE]\n\n", content_type="text/event-stream")
        return web.json_response({"choices": []})

    async def health(self, _: web.Request) -> web.Response:
        """How many completions there were."""
        return web.Response(text=str(self.answered))


def main() -> None:
    address, port, seconds = sys.argv[1:]
    head, application = Head(float(seconds)), web.Application()
    application.router.add_post("/v1/completions", head.complete)
    application.router.add_get("/health", head.health)
    web.run_app(application, host=address, port=int(port), print=None, access_log=None)


if __name__ == "__main__":
    main()
