"""The end of a connection: close, abort, half-close, end of file, errors, what comes last."""

import asyncio
import gc
import socket
import sys

import pytest

from tests.support import (
    HOST,
    Recorder,
    closed,
    connected,
    error_of,
    over_socket,
    reset,
    turn,
    turns,
    until,
)

BOTH_MODES = True


async def test_close(loop):
    server_side, client, server = await connected()
    assert not client.transport.is_closing()
    assert client.transport.close() is None
    assert client.transport.is_closing()
    assert client.events == ["made"], "connection_lost must not come from inside close()"
    await client.lost
    await server_side.lost
    assert client.events == ["made", "lost"]
    assert server_side.events == ["made", "eof", "lost"]
    assert client.lost.result() is None and server_side.lost.result() is None
    assert server_side.transport.is_closing()


def test_connection_lost_comes_in_the_next_turn(same_as_asyncio):
    async def body(loop):
        server_side, client, server = await connected()
        log = []
        client.lost.add_done_callback(lambda f: log.append("lost"))
        client.transport.close()
        loop.call_soon(log.append, "after close")
        await turns(3)
        await closed(server_side)
        return log

    assert same_as_asyncio(body) == ["after close", "lost"]


async def test_close_twice_and_abort_after_close(loop):
    server_side, client, server = await connected()
    client.transport.close()
    client.transport.close()
    client.transport.abort()
    await client.lost
    client.transport.close()
    client.transport.abort()
    await turns(3)
    assert client.events == ["made", "lost"]
    await server_side.lost


async def test_close_sends_what_is_held_first(loop):
    server_side, client, server = await connected()
    server_side.transport.pause_reading()
    data = b"x" * 10_000_000
    client.transport.write(data)
    client.transport.close()
    await turns(5)
    assert client.events[-1] != "lost"
    server_side.transport.resume_reading()
    await client.lost
    await server_side.lost
    assert len(server_side.data) == len(data)
    assert client.lost.result() is None


async def test_close_stops_reading(loop):
    server_side, client, server = await connected()
    server_side.transport.write(b"x" * 100)
    client.transport.close()
    await client.lost
    assert client.data == b""
    await server_side.lost


async def test_abort_drops_what_is_held(loop):
    server_side, client, server = await connected()
    server_side.transport.pause_reading()
    client.transport.write(b"x" * 10_000_000)
    client.transport.abort()
    assert client.transport.is_closing()
    assert client.transport.get_write_buffer_size() == 0
    await client.lost
    assert client.lost.result() is None
    assert "resume" not in client.events
    server_side.transport.resume_reading()
    await server_side.lost
    assert len(server_side.data) < 10_000_000


async def test_abort_after_close_with_data_held(loop):
    server_side, client, server = await connected()
    server_side.transport.pause_reading()
    client.transport.write(b"x" * 10_000_000)
    client.transport.close()
    await turns(3)
    client.transport.abort()
    await client.lost
    assert client.lost.result() is None
    server_side.transport.resume_reading()
    await server_side.lost


async def test_writing_after_close_is_dropped_with_a_warning_after_five(loop, asyncio_log):
    server_side, client, server = await connected()
    client.transport.close()
    await client.lost
    for _ in range(12):
        client.transport.write(b"dropped")
    messages = asyncio_log.take()
    assert messages == ["socket.send() raised exception."] * len(messages)
    assert 5 <= len(messages) <= 8
    await server_side.lost
    assert server_side.data == b""


def test_how_writes_after_the_end_warn(same_as_asyncio, asyncio_log):
    async def body(loop):
        counts = []
        for deed in ("close", "abort"):
            server_side, client, server = await connected()
            getattr(client.transport, deed)()
            for _ in range(7):
                client.transport.write(b"x")
            await client.lost
            for _ in range(7):
                client.transport.write(b"x")
            await closed(server_side)
            counts.append(asyncio_log.take())
            assert error_of(client.transport.write, "text")[0] == "TypeError"
        return counts

    same_as_asyncio(body)


async def test_writelines_after_close_is_dropped(loop_name, loop, asyncio_log):
    if loop_name == "asyncio" and sys.version_info >= (3, 12):
        pytest.skip("asyncio's writelines raises TypeError after close")
    server_side, client, server = await connected()
    client.transport.close()
    for _ in range(3):
        client.transport.writelines([b"dropped", b"too"])
    await client.lost
    client.transport.writelines([b"dropped"])
    await server_side.lost
    assert server_side.data == b""


async def test_write_eof(loop):
    server_side, client, server = await connected()
    assert client.transport.can_write_eof() is True
    client.transport.write(b"x" * 1_000_000)
    client.transport.write_eof()
    client.transport.write_eof()
    await server_side.eof
    assert len(server_side.data) == 1_000_000
    await server_side.lost
    await client.lost
    assert server_side.events[-2:] == ["eof", "lost"]


async def test_writing_after_write_eof_fails(loop):
    server_side, client, server = await connected()
    client.transport.write_eof()
    error = ("RuntimeError", "Cannot call write() after write_eof()")
    assert error_of(client.transport.write, b"x") == error
    await closed(client, server_side)


def test_errors_after_write_eof(same_as_asyncio):
    async def body(loop):
        server_side, client, server = await connected()
        client.transport.write_eof()
        found = [
            error_of(client.transport.write, b"x"),
            error_of(client.transport.write, b""),
        ]
        try:
            found.append(client.transport.writelines([b"x"]))
        except RuntimeError as exc:
            found.append(str(exc))
        await closed(client, server_side)
        client.transport.write_eof()
        return found

    same_as_asyncio(body)


async def test_half_close(loop):
    """eof_received that returns True keeps the way back open."""

    class KeepsOpen(Recorder):
        def eof_received(self):
            super().eof_received()
            return True

    server_side, client, server = await connected(KeepsOpen)
    client.transport.write(b"request")
    client.transport.write_eof()
    await server_side.eof
    assert server_side.data == b"request"
    assert not server_side.transport.is_closing()
    server_side.transport.write(b"answer" * 100_000)
    await turns(5)
    server_side.transport.close()
    await client.lost
    assert client.data == b"answer" * 100_000
    assert client.events[-2:] == ["eof", "lost"]
    await server_side.lost
    assert server_side.events.count("eof") == 1


@pytest.mark.parametrize("answer", [False, None, 0, ""], ids=repr)
async def test_eof_received_that_returns_something_false_closes(loop, answer):
    class Closes(Recorder):
        def eof_received(self):
            super().eof_received()
            return answer

    server_side, client, server = await connected(Closes)
    client.transport.write_eof()
    await server_side.lost
    assert server_side.events == ["made", "eof", "lost"]
    await client.lost


async def test_both_sides_write_eof(loop):
    class KeepsOpen(Recorder):
        def eof_received(self):
            super().eof_received()
            return True

    server_side, client, server = await connected(KeepsOpen, KeepsOpen)
    client.transport.write_eof()
    server_side.transport.write_eof()
    await client.eof
    await server_side.eof
    await turns(3)
    assert client.events == server_side.events == ["made", "eof"]
    await closed(client, server_side)


async def test_held_data_is_sent_after_eof_was_received(loop):
    server_side, client, server = await connected()
    client.transport.pause_reading()
    server_side.transport.write(b"x" * 10_000_000)
    client.transport.write_eof()
    await server_side.eof
    client.transport.resume_reading()
    await client.lost
    assert len(client.data) == 10_000_000
    await server_side.lost


async def test_the_peer_resets(loop):
    transport, protocol, other = await over_socket(loop)
    reset(other)
    exc = await protocol.lost
    assert type(exc) is ConnectionResetError and exc.errno == 104
    assert protocol.events == ["made", "lost ConnectionResetError"]


async def test_the_peer_resets_while_data_is_held(loop):
    transport, protocol, other = await over_socket(loop)
    for _ in range(300):
        transport.write(b"x" * 65536)
    await turns(2)
    reset(other)
    exc = await protocol.lost
    assert isinstance(exc, ConnectionError)
    assert protocol.events[:2] == ["made", "pause"] and "resume" not in protocol.events
    transport.write(b"more")


async def test_writing_to_a_peer_that_is_gone(loop):
    transport, protocol, other = await over_socket(loop)
    transport.pause_reading()
    other.close()
    exc = None
    for _ in range(2000):
        transport.write(b"x" * 1000)
        await asyncio.sleep(0)
        if protocol.lost.done():
            exc = protocol.lost.result()
            break
    assert isinstance(exc, (BrokenPipeError, ConnectionResetError))


def test_errors_of_the_network_are_not_reported_to_the_handler(same_as_asyncio):
    """A reset is the peer's business: connection_lost tells, nobody calls the handler."""

    async def body(loop):
        found = []
        loop.set_exception_handler(lambda loop, context: found.append(context["message"]))
        transport, protocol, other = await over_socket(loop)
        reset(other)
        await protocol.lost
        return [message for message in found if not loop.get_debug()]

    assert same_as_asyncio(body) == []


@pytest.mark.parametrize("deed", ["close", "abort"])
async def test_the_end_releases_the_descriptor(loop, deed):
    server_side, client, server = await connected()
    sock = client.transport.get_extra_info("socket")
    assert sock.fileno() > 0
    getattr(client.transport, deed)()
    await client.lost
    await turns(2)
    assert sock.fileno() == -1
    await server_side.lost


async def test_repr_names_the_state(loop):
    server_side, client, server = await connected()
    assert "ransport" in repr(client.transport)
    client.transport.close()
    assert "clos" in repr(client.transport)
    await client.lost
    await server_side.lost
    assert "clos" in repr(client.transport)


def test_an_unclosed_transport_warns(new_loop):
    loop = new_loop()
    left, right = socket.socketpair()
    left.setblocking(False)

    loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=left))
    with pytest.warns(ResourceWarning, match="unclosed") as caught:
        loop.close()
        del left
        gc.collect()
    assert any("transport" in str(warning.message) for warning in caught)
    right.close()
    del loop
    gc.collect()


def test_a_loop_closed_with_open_connections(snippet):
    out = snippet(
        """
        loop = new_loop()
        async def main():
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            connect = lambda: loop.create_connection(asyncio.Protocol, *address)
            connections = [await connect() for _ in range(3)]
            connections[0][0].write(b"x" * 10_000_000)
            connections[1][0].close()
            return connections
        kept = loop.run_until_complete(main())
        loop.close()
        print("closed")
        for transport, protocol in kept:
            for end in transport.close, transport.abort:
                try:
                    end()
                except RuntimeError as exc:
                    assert str(exc) == "Event loop is closed", exc
        transport = None
        del kept
        gc.collect()
        print("end")
        """,
        stderr=None,
    )
    assert out == "closed\nend\n"


async def test_close_in_connection_made_of_the_server(loop):
    class Closes(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"bye")
            transport.close()

    server_side, client, server = await connected(Closes)
    await client.lost
    assert client.data == b"bye"
    await until(server_side.lost.done)
    assert server_side.events == ["made", "lost"]


async def test_abort_in_connection_made_of_the_client(loop):
    class Aborts(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.abort()

    server = await loop.create_server(Recorder, HOST, 0)
    address = server.sockets[0].getsockname()
    transport, protocol = await loop.create_connection(Aborts, *address)
    await protocol.lost
    assert protocol.events == ["made", "lost"]
    server.close()
    await turns(5)


def test_stop_in_connection_lost(loop):
    async def connect():
        return await connected()

    server_side, client, server = loop.run_until_complete(connect())
    client.lost.add_done_callback(lambda f: loop.stop())
    client.transport.close()
    loop.run_forever()
    assert client.events == ["made", "lost"]
    loop.run_until_complete(closed(server_side))
    turn(loop)
