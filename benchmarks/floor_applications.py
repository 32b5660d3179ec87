"""The parts of the floors of applications: a library's protocol objects, driven in memory.

The server's own protocol objects live on a pyasync loop. Each is given the bytes of a request (as
wrk sends it) or of a WebSocket frame; the transport drops what is written.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.echo_server import echo_websocket
from benchmarks.floor_timing import CONNECTIONS, WARM_UP, Dropping
from benchmarks.http_server import aiohttp_application, uvicorn_server
from benchmarks.processes import Failed

TURNS = 100  # of the loop at most until a request is answered
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def aiohttp_factory(stack: AsyncExitStack) -> Callable[[], asyncio.BaseProtocol]:
    """What makes a protocol of the aiohttp application for each connection."""
    from aiohttp import web

    runner = web.AppRunner(aiohttp_application(Path("/dev/null")), access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    server = runner.server
    assert server is not None
    return server


async def uvicorn_factory(stack: AsyncExitStack) -> Callable[[], asyncio.BaseProtocol]:
    """What makes a protocol of uvicorn for each connection."""
    server = uvicorn_server()
    server.config.load()
    await server.on_tick(0)  # makes the headers that every answer has
    kind: Any = server.config.http_protocol_class
    return lambda: kind(config=server.config, server_state=server.server_state, app_state={})


APPLICATIONS = {"aiohttp": aiohttp_factory, "uvicorn": uvicorn_factory}


def http_request(path: str) -> bytes:
    """A request as wrk sends it; ports that the kernel chooses have five digits."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:50000\r\n\r\n".encode()


class Requests:
    """Connections of one application that are all given the same request, again and again."""

    def __init__(self, protocols: list[Any], request: bytes, written: list[Any]) -> None:
        self.protocols, self.request, self.written = protocols, request, written

    async def first_answer(self) -> bytes:
        """The answer to one request, and of how many writes it is made."""
        self.protocols[0].data_received(self.request)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        self.chunks = len(self.written)
        answer = b"".join(self.written)
        self.written.clear()
        return answer

    async def answer_all(self) -> None:
        """One request on every connection, until all are answered."""
        request, written = self.request, self.written
        for protocol in self.protocols:
            protocol.data_received(request)
        wanted = self.chunks * CONNECTIONS
        for _ in range(TURNS):
            await asyncio.sleep(0)
            if len(written) >= wanted:
                break
        if len(written) != wanted:
            raise Failed(f"{len(written)} writes for {CONNECTIONS} requests, not {wanted}")
        written.clear()

    async def measure(self, seconds: float, repeats: int) -> float:
        """CPU us per request, the least of `repeats` figures, each of `seconds`."""
        figures = []
        for length in (WARM_UP * seconds, *[seconds] * repeats):
            rounds, end = 0, time.perf_counter() + length
            start = time.process_time_ns()
            while time.perf_counter() < end:
                await self.answer_all()
                rounds += 1
            figures.append((time.process_time_ns() - start) / (rounds * CONNECTIONS * 1000))
        return min(figures[1:])


def check_http(answer: bytes) -> None:
    """Raises Failed if it is no complete answer with status 200."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = b"content-length: %d\r\n" % len(body)
    if not head.startswith(b"HTTP/1.1 200 ") or length not in head.lower() + b"\r\n":
        raise Failed(f"the application answered {answer[:200]!r}")


async def http(options: argparse.Namespace) -> tuple[float, bytes]:
    """CPU us per request of an HTTP application, and one answer."""
    async with AsyncExitStack() as stack:
        factory = await APPLICATIONS[options.part](stack)
        written: list[Any] = []
        protocols: list[Any] = [factory() for _ in range(CONNECTIONS)]
        for protocol in protocols:
            protocol.connection_made(Dropping(written))
        requests = Requests(protocols, http_request(options.path), written)
        answer = await requests.first_answer()
        check_http(answer)
        figure = await requests.measure(options.seconds, options.repeats)
        for protocol in protocols:
            protocol.connection_lost(None)
        await asyncio.sleep(0)
    return figure, answer


async def upgraded(stack: AsyncExitStack) -> list[Any]:
    """The server's ends of WebSocket connections, each opened by a handshake over TCP."""
    from websockets.asyncio.server import ServerConnection, serve

    protocols: list[Any] = []

    class Kept(ServerConnection):
        """A connection that can be found here."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            protocols.append(self)
            super().connection_made(transport)

    serving = serve(echo_websocket, "127.0.0.1", 0, compression=None, create_connection=Kept)
    server = await stack.enter_async_context(serving)
    host, port = next(iter(server.sockets)).getsockname()
    for _ in range(CONNECTIONS):
        reader, writer = await asyncio.open_connection(host, port)
        stack.callback(writer.close)
        writer.write(UPGRADE)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise Failed(f"the server answered {head[:200]!r} to a WebSocket's handshake")
    return protocols


async def websocket(options: argparse.Namespace) -> tuple[float, bytes]:
    """CPU us per message of the websockets library and its handler, and the frame sent back."""
    message = bytes(options.size)
    length = options.size.to_bytes(2, "big")
    frame = b"\x82\xfe" + length + bytes(4) + message  # binary, masked with zeros
    async with AsyncExitStack() as stack:
        protocols = await upgraded(stack)
        written: list[Any] = []
        transports = [protocol.transport for protocol in protocols]
        for protocol in protocols:
            protocol.transport = Dropping(written)
        requests = Requests(protocols, frame, written)
        answer = await requests.first_answer()
        if answer != b"\x82\x7e" + length + message:
            raise Failed(f"the library answered {answer[:20]!r}, {len(answer)} bytes")
        figure = await requests.measure(options.seconds, options.repeats)
        for protocol, transport in zip(protocols, transports, strict=True):
            protocol.transport = transport  # for the end of the connection
    return figure, answer
