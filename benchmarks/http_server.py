"""A small HTTP service on httptools alone, aiohttp or uvicorn, on one event loop; a child of the
benchmarks.

    python -m benchmarks.http_server --framework uvicorn --loop asyncio

`GET /` gives the same JSON text everywhere. uvicorn runs with its httptools parser. aiohttp also
answers /small (a short text), /large (64 KiB) and /static (a file of 64 KiB, which it sends from
the file). A library is imported only by the server that needs it. Prints the port it listens on and
runs until SIGTERM.
"""

import argparse
import asyncio
import json
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import uvicorn
    from aiohttp import web

from benchmarks.listen import BACKLOG, announce, tcp_listener
from benchmarks.loops import LOOPS, LoopFactory, loop_factory

ANSWER = json.dumps({"message": "hello", "numbers": list(range(10))}).encode()
LARGE = bytes(range(256)) * 256


class HttptoolsProtocol(asyncio.Protocol):
    """What a server costs that does nothing but parse requests and write one answer."""

    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    answer = head % len(ANSWER) + ANSWER
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        import httptools

        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.transport.write(self.answer)


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


async def serve_httptools(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_server(HttptoolsProtocol, sock=listener, backlog=BACKLOG)
    await loop.create_future()


def run_httptools(listener: socket.socket, factory: LoopFactory) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve_httptools(listener))


def aiohttp_application(static: Path) -> "web.Application":
    """The application; `static` is the file that is sent as it is."""
    from aiohttp import web

    async def json_handler(request: web.Request) -> web.Response:
        return web.Response(body=ANSWER, content_type="application/json")

    async def small_handler(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def large_handler(request: web.Request) -> web.Response:
        return web.Response(body=LARGE)

    async def static_handler(request: web.Request) -> web.FileResponse:
        return web.FileResponse(static)

    app = web.Application()
    app.router.add_get("/", json_handler)
    app.router.add_get("/small", small_handler)
    app.router.add_get("/large", large_handler)
    app.router.add_get("/static", static_handler)
    return app


@contextmanager
def static_file() -> Iterator[Path]:
    """The file of 64 KiB, for the length of a `with` block."""
    with tempfile.NamedTemporaryFile() as static:
        static.write(LARGE)
        static.flush()
        yield Path(static.name)


def run_aiohttp(listener: socket.socket, factory: LoopFactory) -> None:
    from aiohttp import web

    with static_file() as static:
        web.run_app(
            aiohttp_application(static),
            sock=listener,
            backlog=BACKLOG,
            access_log=None,
            print=lambda *_: None,
            loop=factory(),
        )


def uvicorn_server() -> "uvicorn.Server":
    """The server, with its httptools parser."""
    import uvicorn

    config = uvicorn.Config(
        asgi_app,
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
        backlog=BACKLOG,
    )
    return uvicorn.Server(config)


def run_uvicorn(listener: socket.socket, factory: LoopFactory) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(uvicorn_server().serve(sockets=[listener]))


FRAMEWORKS = {"httptools": run_httptools, "aiohttp": run_aiohttp, "uvicorn": run_uvicorn}


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
