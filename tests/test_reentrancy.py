"""Protocol callbacks that turn on their own transport, on others, or raise."""

import asyncio
import contextlib
import socket

import pytest

from tests.support import HOST, Recorder, closed, connected, over_socket, turns, until


def deeds(transport):
    """Everything a callback may do to its own transport."""
    return {
        "close": transport.close,
        "abort": transport.abort,
        "write": lambda: transport.write(b"answer"),
        "write and close": lambda: (transport.write(b"answer"), transport.close()),
        "write big and close": lambda: (transport.write(b"x" * 3_000_000), transport.close()),
        "write_eof": transport.write_eof,
        "pause_reading": transport.pause_reading,
        "pause and resume": lambda: (transport.pause_reading(), transport.resume_reading()),
        "close and abort": lambda: (transport.close(), transport.abort()),
        "replace the protocol": lambda: transport.set_protocol(asyncio.Protocol()),
    }


DEEDS = list(deeds(asyncio.Transport()))


def acting(kind, callback, deed):
    """A subclass of the protocol `kind` that does the deed in that callback."""

    def act(self, *args):
        result = getattr(kind, callback)(self, *args)
        deeds(self.transport)[deed]()
        return result

    return type("Acting", (kind,), {callback: act})


def receive(sock, data):
    """Add to `data` what the socket has now; report whether its stream has ended."""
    with contextlib.suppress(BlockingIOError):
        while piece := sock.recv(1 << 20):
            data += piece
        return True
    return False


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("callback", ["connection_made", "data_received", "eof_received"])
def test_what_protocol_and_peer_see(same_as_asyncio, callback, deed):
    """A protocol turns on its own transport: its events and the peer's bytes are asyncio's."""

    async def body(loop):
        transport, protocol, other = await over_socket(loop, acting(Recorder, callback, deed))
        other.setblocking(False)
        got, end = bytearray(), None
        other.send(b"request")
        for phase in range(2):
            for _ in range(20):
                await asyncio.sleep(0.0003)
                with contextlib.suppress(ConnectionError):
                    end = receive(other, got) or end
            if phase == 0:
                with contextlib.suppress(OSError):
                    other.shutdown(socket.SHUT_WR)
        reading, closing = transport.is_reading(), transport.is_closing()
        transport.abort()
        await turns(3)
        other.close()
        return protocol.events, len(got), end, reading, closing

    events, *_ = same_as_asyncio(body)
    assert events[0] == "made"


@pytest.mark.parametrize("callback", ["connection_made", "data_received", "eof_received"])
async def test_an_error_is_reported(loop, callback):
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))

    class Fails(Recorder):
        pass

    def fail(self, *args):
        getattr(Recorder, callback)(self, *args)
        raise LookupError(f"in {callback}")

    setattr(Fails, callback, fail)
    server_side, client, server = await connected(Fails)
    client.transport.write(b"data")
    client.transport.write_eof()
    await until(lambda: found)
    context = found[0]
    assert str(context["exception"]) == f"in {callback}"
    if callback != "connection_made":
        assert context["message"] == f"Fatal error: protocol.{callback}() call failed."
        assert context["transport"] is server_side.transport
        assert context["protocol"] is server_side
        exc = await server_side.lost
        assert isinstance(exc, LookupError)
        assert server_side.events[-1] == "lost LookupError"
    await closed(server_side)
    await client.lost
    assert len(found) == 1


async def test_after_an_error_no_more_data_comes(loop):
    loop.set_exception_handler(lambda loop, context: None)

    class Fails(Recorder):
        calls = 0

        def data_received(self, data):
            self.calls += 1
            raise LookupError

    server_side, client, server = await connected(Fails)
    for _ in range(4):
        client.transport.write(b"x" * 100_000)
        await asyncio.sleep(0)
    await server_side.lost
    await client.lost
    assert server_side.calls == 1


async def test_an_error_in_connection_lost_is_reported(loop):
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))

    class Fails(Recorder):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            raise LookupError("in connection_lost")

    server_side, client, server = await connected(Fails)
    client.transport.close()
    await client.lost
    await until(lambda: found)
    assert str(found[0]["exception"]) == "in connection_lost"
    await turns(3)
    assert server_side.transport.get_extra_info("socket").fileno() == -1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_data_received_ends_the_run(loop, kind):
    class Interrupts(Recorder):
        def data_received(self, data):
            raise kind("now")

    server_side, client, server = loop.run_until_complete(connected(Interrupts))
    loop.call_soon(client.transport.write, b"x")
    with pytest.raises(kind, match="now"):
        loop.run_forever()
    assert not loop.is_running()
    for side in (server_side, client):
        side.transport.abort()
    loop.run_until_complete(asyncio.wait([client.lost, server_side.lost]))


async def test_closing_another_connection_of_the_same_poll(loop):
    """Two connections have data; whoever is first closes the other."""
    sides = []

    class Closes(Recorder):
        def data_received(self, data):
            super().data_received(data)
            for side in sides:
                if side is not self:
                    side.transport.abort()

    first = await connected(Closes)
    second = await connected(Closes)
    sides += [first[0], second[0]]
    first[1].transport.write(b"x")
    second[1].transport.write(b"x")
    await until(lambda: any(side.lost.done() for side in sides))
    received = [side for side in sides if side.data]
    assert len(received) == 1
    await closed(first[0], first[1], second[0], second[1])


async def test_writing_to_another_connection_from_data_received(loop):
    """A relay: what comes in on one connection goes out on another, at once and in order."""
    left_server, left_client, _ = await connected()
    right_server, right_client, _ = await connected()

    def relay(data):
        right_client.transport.write(data)

    left_server.data_received = relay
    total = 0
    for i in range(300):
        piece = b"%d;" % i * (1 + i)
        total += len(piece)
        left_client.transport.write(piece)
    await until(lambda: len(right_server.data) == total)
    assert right_server.data == b"".join(b"%d;" % i * (1 + i) for i in range(300))
    await closed(left_client, left_server, right_client, right_server)


async def test_a_ring_of_relays(loop):
    """Writes that trigger reads that trigger writes: nothing nests, nothing is lost."""
    pairs = [await connected() for _ in range(10)]
    hops = 0

    def make(index):
        def relay(data):
            nonlocal hops
            hops += 1
            if hops < 1000:
                pairs[(index + 1) % 10][1].transport.write(data)

        return relay

    for index, (server_side, _, _) in enumerate(pairs):
        server_side.data_received = make(index)
    pairs[0][1].transport.write(b"x")
    await until(lambda: hops >= 1000)
    for server_side, client, _server in pairs:
        await closed(client, server_side)


def test_the_loop_stopped_in_data_received_goes_on_later(loop):
    class Stops(Recorder):
        def data_received(self, data):
            super().data_received(data)
            loop.stop()

    server_side, client, server = loop.run_until_complete(connected(Stops))
    data = b"x" * 2_000_000
    client.transport.write(data)
    for _ in range(10_000):
        loop.run_forever()
        if len(server_side.data) == len(data):
            break
    assert server_side.data == data
    loop.run_until_complete(closed(client, server_side))


async def test_a_protocol_factory_of_a_server_that_raises(loop_name, loop):
    if loop_name == "asyncio":
        pytest.skip("asyncio leaves the accepted socket to the collector, which warns")
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))
    loop.set_debug(True)

    def factory():
        raise LookupError("no protocol")

    server = await loop.create_server(factory, HOST, 0)
    address = server.sockets[0].getsockname()
    transport, client = await loop.create_connection(Recorder, *address)
    await client.lost
    assert client.events in (["made", "eof", "lost"], ["made", "lost ConnectionResetError"])
    assert [str(context["exception"]) for context in found] == ["no protocol"]
    server.close()
    await server.wait_closed()


async def test_connection_made_that_raises_at_the_client(loop):
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))

    class Fails(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise LookupError("made")

    server = await loop.create_server(Recorder, HOST, 0)
    transport, protocol = await loop.create_connection(Fails, *server.sockets[0].getsockname())
    assert str(found[0]["exception"]) == "made"
    transport.close()
    await protocol.lost
    server.close()
    await turns(5)


async def test_new_connections_opened_in_callbacks(loop):
    """connection_lost of one connection opens the next one."""
    server = await loop.create_server(Recorder, HOST, 0)
    address = server.sockets[0].getsockname()
    count = 0
    done = loop.create_future()

    class Chain(Recorder):
        def connection_lost(self, exc):
            nonlocal count
            super().connection_lost(exc)
            count += 1
            if count < 20:
                tasks.append(loop.create_task(start()))
            else:
                done.set_result(None)

    async def start():
        transport, protocol = await loop.create_connection(Chain, *address)
        transport.write(b"x")
        transport.close()

    tasks = [loop.create_task(start())]
    await done
    await asyncio.gather(*tasks)
    server.close()
    await turns(10)
