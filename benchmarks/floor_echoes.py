"""The parts of the floors of plain echoes: the row's own Python, called with nothing below it.

Everything that a loop does is done beforehand or for nothing, by functions in C: what is counted is
the protocol's callback or the coroutine of echo_server.py, from one message to the next.
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from benchmarks.echo_server import (
    CloseProtocol,
    EchoBufferedProtocol,
    EchoDatagramProtocol,
    EchoProtocol,
    echo_socket,
    echo_stream,
)
from benchmarks.floor_timing import CONNECTIONS, Dropping, DroppingDatagrams, median_of
from benchmarks.processes import Failed

MESSAGES = 50  # of each connection within one measurement


def measured(call: Callable[[], object], check: Callable[[], None]) -> Callable[[], float]:
    """CPU us per message of `call()`, which handles one on every connection; checked afterwards."""

    def measure() -> float:
        start = time.process_time_ns()
        for _ in range(MESSAGES):
            call()
        used = time.process_time_ns() - start
        check()
        return used / (MESSAGES * CONNECTIONS * 1000)

    return measure


def expect(written: list[Any], message: object) -> Callable[[], None]:
    """A check that every message was echoed, as it was; raises Failed otherwise."""

    def check() -> None:
        if written != [message] * (MESSAGES * CONNECTIONS):
            raise Failed(f"{len(written)} echoes, not {MESSAGES * CONNECTIONS}, or changed ones")
        written.clear()

    return check


async def accept(options: argparse.Namespace) -> tuple[float, bytes]:
    """CPU us per connection of the protocol that closes it, made and called from its beginning to
    its end; nothing is sent."""
    closed: list[Any] = []
    transport = Dropping([])
    vars(transport).update(close=partial(closed.append, transport))

    def call() -> None:
        for _ in range(CONNECTIONS):
            each = CloseProtocol()
            each.connection_made(transport)
            each.connection_lost(None)

    measure = measured(call, expect(closed, transport))
    return median_of(options.seconds, options.repeats, measure), b""


async def protocol(options: argparse.Namespace) -> tuple[float, bytes]:
    """CPU us per message of the echo protocol, and the message."""
    message = bytes(options.size)
    written: list[Any] = []
    protocols = [EchoProtocol() for _ in range(CONNECTIONS)]
    for each in protocols:
        each.connection_made(Dropping(written))

    def call() -> None:
        for each in protocols:
            each.data_received(message)

    measure = measured(call, expect(written, message))
    return median_of(options.seconds, options.repeats, measure), message


async def buffered(options: argparse.Namespace) -> tuple[float, bytes]:
    """CPU us per message of the buffered echo protocol, and the message."""
    size = options.size
    message = bytes(size)
    written: list[Any] = []
    protocols = [EchoBufferedProtocol() for _ in range(CONNECTIONS)]
    for each in protocols:
        each.connection_made(Dropping(written))

    def call() -> None:
        for each in protocols:
            each.get_buffer(-1)
            each.buffer_updated(size)

    measure = measured(call, expect(written, message))
    return median_of(options.seconds, options.repeats, measure), message


async def datagrams(options: argparse.Namespace) -> tuple[float, bytes]:
    """CPU us per datagram of the echo protocol, and the datagram."""
    message = bytes(options.size)
    sent: dict[bytes, Any] = {}
    each = EchoDatagramProtocol()
    each.connection_made(DroppingDatagrams(sent))
    addresses = [("127.0.0.1", 50000 + number) for number in range(CONNECTIONS)]

    def call() -> None:
        for address in addresses:
            each.datagram_received(message, address)

    def check() -> None:
        if sent != {message: addresses[0]}:
            raise Failed(f"{len(sent)} kinds of datagrams, not one, or to the wrong address")
        sent.clear()

    measure = measured(call, check)
    return median_of(options.seconds, options.repeats, measure), message


class StandInLoop:
    """A loop whose socket operations are C functions that give a future: what is read is there when
    the coroutine is sent into, and what is sent has gone at once."""

    def __init__(self, sent: asyncio.Future[None]) -> None:
        self.reading: dict[Any, asyncio.Future[bytes]] = {}
        self.sending: dict[Any, asyncio.Future[None]] = {}
        self.sent = sent
        # get(client, size) and get(client, data) find the client's future.
        vars(self).update(sock_recv=self.reading.get, sock_sendall=self.sending.get)

    def connect(self, client: Any) -> None:
        """Nothing has come from `client` yet, and all that is sent to it goes."""
        self.sending[client] = self.sent
        self.expect_data(client)

    def expect_data(self, client: Any) -> asyncio.Future[bytes] | None:
        """What the coroutine waits for; from now on it will wait for a new future."""
        before = self.reading.get(client)
        self.reading[client] = self.sent.get_loop().create_future()
        return before


class FakeSocket:
    """What the coroutine closes at its end."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


async def sock(options: argparse.Namespace) -> tuple[float, bytes]:
    """CPU us per message of the coroutine of socket operations, and the message."""
    message = bytes(options.size)
    sent = asyncio.get_running_loop().create_future()
    sent.set_result(None)
    loop: Any = StandInLoop(sent)
    clients: list[Any] = [FakeSocket() for _ in range(CONNECTIONS)]
    coroutines = []
    for client in clients:
        loop.connect(client)
        coroutines.append(echo_socket(loop, client))
        coroutines[-1].send(None)  # it waits for data now

    def measure() -> float:
        for client in clients:
            waited = loop.expect_data(client)
            assert waited is not None
            waited.set_result(message)
        start = time.process_time_ns()
        for coroutine in coroutines:
            coroutine.send(None)
        return (time.process_time_ns() - start) / (CONNECTIONS * 1000)

    figure = median_of(options.seconds, options.repeats, measure)
    for coroutine in coroutines:
        coroutine.close()
    return figure, message


def waiting_stream(
    loop: asyncio.AbstractEventLoop, transport: Any
) -> tuple[asyncio.StreamReader, Coroutine[Any, Any, None]]:
    """A connection's reader, and the streams' echo coroutine, which waits for its data."""
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    coroutine = echo_stream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
    coroutine.send(None)
    return reader, coroutine


async def streams(options: argparse.Namespace) -> tuple[float, bytes]:
    """CPU us per message of the streams' echo coroutine, and the message."""
    loop = asyncio.get_running_loop()
    message = bytes(options.size)
    written: list[Any] = []
    pairs = [waiting_stream(loop, Dropping(written)) for _ in range(CONNECTIONS)]
    readers, coroutines = zip(*pairs, strict=True)

    def measure() -> float:
        for reader in readers:
            reader.feed_data(message)
        start = time.process_time_ns()
        for coroutine in coroutines:
            coroutine.send(None)
        used = time.process_time_ns() - start
        if written != [message] * CONNECTIONS:
            raise Failed(f"{len(written)} echoes of {CONNECTIONS}, or not what was sent")
        written.clear()
        return used / (CONNECTIONS * 1000)

    figure = median_of(options.seconds, options.repeats, measure)
    for coroutine in coroutines:
        coroutine.close()
    return figure, message
