"""The smallest JSON service on aiohttp or uvicorn, on one event loop; a child of benchmarks.http.

    python -m benchmarks.http_server --framework uvicorn --loop asyncio

Both answer every GET with the same JSON text. uvicorn runs with its httptools parser. Prints the
port it listens on and runs until SIGTERM.
"""

import argparse
import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from aiohttp import web

from benchmarks.listen import BACKLOG, announce, tcp_listener
from benchmarks.loops import LOOPS, LoopFactory, loop_factory

ANSWER = json.dumps({"message": "hello", "numbers": list(range(10))}).encode()


async def aiohttp_handler(request: web.Request) -> web.Response:
    return web.Response(body=ANSWER, content_type="application/json")


async def asgi_app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answers every HTTP request; other scopes (lifespan) are refused, as ASGI allows."""
    if scope["type"] != "http":
        raise ValueError(f"this application has no scope {scope['type']!r}")
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


def run_aiohttp(listener: socket.socket, factory: LoopFactory) -> None:
    app = web.Application()
    app.router.add_get("/", aiohttp_handler)
    web.run_app(
        app,
        sock=listener,
        backlog=BACKLOG,
        access_log=None,
        print=lambda *_: None,
        loop=factory(),
    )


def run_uvicorn(listener: socket.socket, factory: LoopFactory) -> None:
    config = uvicorn.Config(
        asgi_app,
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
        backlog=BACKLOG,
    )
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(uvicorn.Server(config).serve(sockets=[listener]))


FRAMEWORKS = {"aiohttp": run_aiohttp, "uvicorn": run_uvicorn}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--framework", choices=FRAMEWORKS, required=True)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    options = parser.parse_args()
    listener = tcp_listener()
    announce(listener.getsockname()[1])
    FRAMEWORKS[options.framework](listener, loop_factory(options.loop))


if __name__ == "__main__":
    main()
