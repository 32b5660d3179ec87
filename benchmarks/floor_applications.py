"""The parts of the floors of applications: a library's protocol objects, driven in memory.

The server's own protocol objects live on a pyasync loop. Each is given the bytes of a request (as
wrk sends it) or of a WebSocket frame; the transport drops what is written. What an application asks
the loop's executor for, as aiohttp does for a file, is done at once and in the same thread: what
the executor's own code costs for these calls is a part by itself.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.echo_server import echo_websocket
from benchmarks.floor_cold import measure_queue
from benchmarks.floor_timing import CONNECTIONS, WARM_UP, Dropping, median_of
from benchmarks.http_server import (
    LARGE,
    HttptoolsProtocol,
    aiohttp_application,
    static_file,
    uvicorn_server,
)
from benchmarks.processes import Failed

TURNS = 100  # of the loop at most until a request is answered
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def httptools_factory(stack: AsyncExitStack) -> Callable[[], asyncio.BaseProtocol]:
    """What makes a protocol of httptools alone for each connection."""
    return HttptoolsProtocol


async def aiohttp_factory(stack: AsyncExitStack) -> Callable[[], asyncio.BaseProtocol]:
    """What makes a protocol of the aiohttp application for each connection."""
    from aiohttp import web

    application = aiohttp_application(stack.enter_context(static_file()))
    runner = web.AppRunner(application, access_log=None)
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


APPLICATIONS = {
    "httptools": httptools_factory,
    "aiohttp": aiohttp_factory,
    "uvicorn": uvicorn_factory,
}


def http_request(path: str) -> bytes:
    """A request as wrk sends it; ports that the kernel chooses have five digits."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:50000\r\n\r\n".encode()


class FilesInline:
    """What aiohttp asks of a loop for a file: calls in a thread are made at once where they are
    asked for, and counted; sending the file only keeps its content with what is written."""

    def __init__(self, loop: asyncio.AbstractEventLoop, written: list[Any]) -> None:
        self.calls, self.loop, self.written = 0, loop, written
        vars(loop).update(run_in_executor=self.run_in_executor, sendfile=self.sendfile)

    def run_in_executor(
        self, executor: None, function: Callable[..., Any], *arguments: Any
    ) -> asyncio.Future[Any]:
        self.calls += 1
        future = self.loop.create_future()
        future.set_result(function(*arguments))
        return future

    async def sendfile(self, transport: Any, file: Any, offset: int, count: int) -> None:
        if (offset, count) != (0, len(LARGE)):
            raise Failed(f"{count} bytes of the file from {offset} on, not all of it")
        self.written.append(LARGE)


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
            if len(written) >= wanted:
                break
            await asyncio.sleep(0)
        if len(written) != wanted:
            raise Failed(f"{len(written)} writes for {CONNECTIONS} requests, not {wanted}")
        written.clear()

    async def measure(self, seconds: float, repeats: int) -> float:
        """CPU us per request, the least of `repeats` figures, each of `seconds`."""
        figures = []
        for length in (WARM_UP * seconds, *[seconds] * repeats):
            rounds, end = 0, time.perf_counter() + length
            start = time.process_time_ns()
            while not rounds or time.perf_counter() < end:
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


async def connected(stack: AsyncExitStack, application: str, path: str) -> Requests:
    """Connections of an application that will all be asked for `path`."""
    factory = await APPLICATIONS[application](stack)
    written: list[Any] = []
    protocols: list[Any] = [factory() for _ in range(CONNECTIONS)]
    stack.push_async_callback(asyncio.sleep, 0)  # after they have ended
    for protocol in protocols:
        protocol.connection_made(Dropping(written))
        stack.callback(protocol.connection_lost, None)
    return Requests(protocols, http_request(path), written)


async def http(options: argparse.Namespace) -> tuple[float, bytes]:
    """CPU us per request of an HTTP application, and one answer."""
    async with AsyncExitStack() as stack:
        requests = await connected(stack, options.part, options.path)
        FilesInline(asyncio.get_running_loop(), requests.written)
        answer = await requests.first_answer()
        check_http(answer)
        return await requests.measure(options.seconds, options.repeats), answer


async def executor(options: argparse.Namespace) -> tuple[float, bytes]:
    """CPU us per request of what aiohttp gives to the executor, without the calls themselves."""
    async with AsyncExitStack() as stack:
        requests = await connected(stack, "aiohttp", options.path)
        files = FilesInline(asyncio.get_running_loop(), requests.written)
        check_http(await requests.first_answer())
    if files.calls == 0:
        raise Failed(f"aiohttp gave nothing to the executor for {options.path}")
    return files.calls * median_of(options.seconds, options.repeats, measure_queue) / 1000, b""


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
