"""An echo server on one event loop, in each of asyncio's styles; a child of the benchmarks.

    python -m benchmarks.echo_server --loop asyncio --style protocol [--unix PATH]

Listens on 127.0.0.1 at a free port, or at PATH; prints the port or the path; ends on SIGTERM.
The clients are closed-loop (one message under way per connection), so what a connection can have
pending is bounded by its message, and the protocol styles need no flow control of their own.
"""

import argparse
import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import cast

from benchmarks.loops import LOOPS, loop_factory

READ_SIZE = 256 * 1024
BACKLOG = 1024


class EchoProtocol(asyncio.Protocol):
    """Writes back what it is given."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


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


async def serve_sockets(listener: socket.socket) -> None:
    """Accepts with the loop's socket operations, one task per connection."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    while True:
        client, _ = await loop.sock_accept(listener)
        if client.family == socket.AF_INET:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(echo_socket(loop, client))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def serve_protocol(
    factory: Callable[[], asyncio.BaseProtocol], listener: socket.socket
) -> None:
    """Serves a protocol; unix listeners go to the method for them."""
    loop = asyncio.get_running_loop()
    if listener.family == socket.AF_UNIX:
        server = await loop.create_unix_server(factory, sock=listener, backlog=BACKLOG)
    else:
        server = await loop.create_server(factory, sock=listener, backlog=BACKLOG)
    await server.serve_forever()


async def serve_streams(listener: socket.socket) -> None:
    """Serves asyncio streams; unix listeners go to the function for them."""
    if listener.family == socket.AF_UNIX:
        server = await asyncio.start_unix_server(echo_stream, sock=listener, backlog=BACKLOG)
    else:
        server = await asyncio.start_server(echo_stream, sock=listener, backlog=BACKLOG)
    await server.serve_forever()


STYLES: dict[str, Callable[[socket.socket], Awaitable[None]]] = {
    "protocol": lambda listener: serve_protocol(EchoProtocol, listener),
    "buffered": lambda listener: serve_protocol(EchoBufferedProtocol, listener),
    "streams": serve_streams,
    "sock": serve_sockets,
}


def make_listener(path: str | None) -> socket.socket:
    """A listening socket on a free port of 127.0.0.1, or on a unix path."""
    if path is not None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
    else:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
    listener.setblocking(False)
    listener.listen(BACKLOG)
    return listener


async def main(style: str, path: str | None) -> None:
    listener = make_listener(path)
    print(path or listener.getsockname()[1], flush=True)
    await STYLES[style](listener)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--style", choices=STYLES, default="protocol")
    parser.add_argument("--unix", metavar="PATH")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
        runner.run(main(options.style, options.unix))
