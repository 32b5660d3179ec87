"""An echo server on one event loop, in each of asyncio's styles; a child of the benchmarks.

The styles "accept" and "tls-accept" close each connection they have accepted instead.

    python -m benchmarks.echo_server --loop asyncio --style tls --certificate FOLDER [--unix PATH]

Listens on 127.0.0.1 at a free port, or at PATH; prints the port or the path; ends on SIGTERM.
The clients are closed-loop (one message under way per connection), so what a connection can have
pending is bounded by its message, and the protocol styles need no flow control of their own.
"""

import argparse
import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from benchmarks.certificate import server_context
from benchmarks.listen import BACKLOG, announce, tcp_listener
from benchmarks.loops import LOOPS, loop_factory

READ_SIZE = 256 * 1024


class EchoProtocol(asyncio.Protocol):
    """Writes back what it is given."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class CloseProtocol(asyncio.Protocol):
    """Closes what it is given: with TLS, once the handshake is complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class EchoDatagramProtocol(asyncio.DatagramProtocol):
    """Sends every datagram back where it came from."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data, address)


class EchoBufferedProtocol(asyncio.BufferedProtocol):
    """Is read into a buffer of its own and writes back a copy, as the buffer is used again."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(READ_SIZE))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(self.buffer[:nbytes]))


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serves one connection with a stream reader and writer."""
    try:
        while data := await reader.read(READ_SIZE):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the client closes without waiting for the last echo
    finally:
        writer.close()


async def echo_socket(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    """Serves one connection with the loop's socket operations."""
    with client:
        try:
            while data := await loop.sock_recv(client, READ_SIZE):
                await loop.sock_sendall(client, data)
        except ConnectionError:
            pass  # as above


async def serve_sockets(path: str | None) -> None:
    """Accepts with the loop's socket operations, one task per connection."""
    loop = asyncio.get_running_loop()
    if path is not None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    else:
        listener = tcp_listener()
    announce(path or listener.getsockname()[1])
    tasks: set[asyncio.Task[None]] = set()
    while True:
        client, _ = await loop.sock_accept(listener)
        if client.family == socket.AF_INET:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(echo_socket(loop, client))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def serve_server(path: str | None, starting: Awaitable[asyncio.Server]) -> None:
    """Runs a server that is being started on `path`, or on a free port.

    It serves from the start; one loop breaks if serve_forever() is called as well.
    """
    server = await starting
    announce(path or server.sockets[0].getsockname()[1])
    await asyncio.get_running_loop().create_future()


async def serve_protocol(
    path: str | None,
    factory: Callable[[], asyncio.BaseProtocol],
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serves a protocol."""
    loop = asyncio.get_running_loop()
    if path is not None:
        await serve_server(path, loop.create_unix_server(factory, path, backlog=BACKLOG, ssl=tls))
    else:
        starting = loop.create_server(factory, "127.0.0.1", 0, backlog=BACKLOG, ssl=tls)
        await serve_server(None, starting)


async def serve_streams(path: str | None, tls: ssl.SSLContext | None = None) -> None:
    """Serves asyncio streams."""
    if path is not None:
        starting = asyncio.start_unix_server(echo_stream, path, backlog=BACKLOG, ssl=tls)
    else:
        starting = asyncio.start_server(echo_stream, "127.0.0.1", 0, backlog=BACKLOG, ssl=tls)
    await serve_server(path, starting)


async def serve_datagrams() -> None:
    """Serves UDP on a free port."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        EchoDatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    announce(transport.get_extra_info("sockname")[1])
    await loop.create_future()


async def echo_websocket(connection: Any) -> None:
    """Serves one WebSocket connection of the websockets library."""
    async for message in connection:
        await connection.send(message)


async def serve_websockets() -> None:
    """Serves WebSockets with the websockets library, on a free port."""
    from websockets.asyncio.server import serve

    async with serve(echo_websocket, "127.0.0.1", 0, compression=None, backlog=BACKLOG) as server:
        announce(next(iter(server.sockets)).getsockname()[1])
        await asyncio.get_running_loop().create_future()


# Each takes the path of a unix socket, or None for TCP, and the context of the styles that speak
# TLS; it serves for ever.
STYLES: dict[str, Callable[[str | None, ssl.SSLContext | None], Coroutine[Any, Any, None]]] = {
    "protocol": lambda path, tls: serve_protocol(path, EchoProtocol),
    "buffered": lambda path, tls: serve_protocol(path, EchoBufferedProtocol),
    "streams": lambda path, tls: serve_streams(path),
    "sock": lambda path, tls: serve_sockets(path),
    "tls": lambda path, tls: serve_protocol(path, EchoProtocol, tls),
    "tls-buffered": lambda path, tls: serve_protocol(path, EchoBufferedProtocol, tls),
    "tls-streams": lambda path, tls: serve_streams(path, tls),
    "udp": lambda path, tls: serve_datagrams(),
    "websocket": lambda path, tls: serve_websockets(),
    "accept": lambda path, tls: serve_protocol(path, CloseProtocol),
    "tls-accept": lambda path, tls: serve_protocol(path, CloseProtocol, tls),
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--style", choices=STYLES, default="protocol")
    parser.add_argument("--unix", metavar="PATH")
    parser.add_argument(
        "--certificate", metavar="FOLDER", help="with cert.pem and key.pem, for tls"
    )
    options = parser.parse_args()
    factory = loop_factory(options.loop)  # first: one loop watches how contexts are made
    tls = server_context(options.certificate) if options.certificate else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(STYLES[options.style](options.unix, tls))
