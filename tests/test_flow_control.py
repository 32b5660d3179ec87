"""Water marks and pausing: when a protocol is told to pause and resume, and reading is held."""

import asyncio
import socket

import pytest

from tests.support import Recorder, closed, connected, error_of, turns, until

KEPT = {}  # size -> bytes of it: pyasync may send later what its program keeps anyway


def piece(size, kept):
    """That many bytes, which the program keeps or has only for the write."""
    return KEPT.setdefault(size, b"x" * size) if kept else b"x" * size


async def full(**options):
    """A connection whose server side does not read, with its client's kernel buffers full.

    pyasync may hold writes back until the end of the turn, so a turn is made between writes.
    """
    server_side, client, server = await connected(**options)
    server_side.transport.pause_reading()
    await turns(2)
    written = 0
    for _ in range(1000):
        client.transport.write(b"x" * 65536)
        written += 65536
        await turns(2)
        if client.transport.get_write_buffer_size():
            break
    assert client.transport.get_write_buffer_size() > 0
    return server_side, client, written


async def drained(server_side, client, total):
    server_side.transport.resume_reading()
    await until(lambda: len(server_side.data) == total)
    await until(lambda: client.transport.get_write_buffer_size() == 0)


async def test_the_default_limits(loop):
    server_side, client, server = await connected()
    assert client.transport.get_write_buffer_limits() == (16384, 65536)
    assert client.transport.get_write_buffer_size() == 0
    await closed(client, server_side)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"high": 1000},
        {"low": 1000},
        {"high": 1000, "low": 0},
        {"high": 0},
        {"high": 0, "low": 0},
        {"high": 10, "low": 10},
        {"high": 1, "low": 2},
        {"high": 10, "low": -1},
        {"high": -1},
        {"high": 5, "low": None},
        {"high": None, "low": 5},
        {"high": "text"},
        {"high": 2**40},
    ],
    ids=repr,
)
def test_setting_limits(same_as_asyncio, arguments):
    async def body(loop):
        server_side, client, server = await connected()
        try:
            found = client.transport.set_write_buffer_limits(**arguments)
        except Exception as exc:
            found = type(exc).__name__, str(exc)
        found = found, client.transport.get_write_buffer_limits()
        await closed(client, server_side)
        return found

    same_as_asyncio(body)


async def test_pause_and_resume_once_each(loop):
    server_side, client, written = await full()
    assert "pause" not in client.events
    client.transport.write(b"y" * 200_000)
    assert client.events == ["made", "pause"]
    client.transport.write(b"z" * 10)
    assert client.events == ["made", "pause"]
    await drained(server_side, client, written + 200_010)
    assert client.events == ["made", "pause", "resume"]
    await closed(client, server_side)


async def test_pause_comes_from_inside_write(loop):
    server_side, client, written = await full()
    held = client.transport.get_write_buffer_size()
    client.transport.set_write_buffer_limits(high=held + 100, low=0)
    client.transport.write(b"y" * 100)
    assert client.events == ["made"]
    client.transport.write(b"y")
    assert client.events == ["made", "pause"]
    await drained(server_side, client, written + 101)
    assert client.events == ["made", "pause", "resume"]
    await closed(client, server_side)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("size", [70_000, 150_000, 500_000])
def test_a_write_above_the_high_water_mark_that_the_socket_takes(same_as_asyncio, size, kept):
    """It pauses nobody, and nothing counts as held."""

    async def body(loop):
        server_side, client, server = await connected()
        client.transport.write(piece(size, kept))
        found = [list(client.events), client.transport.get_write_buffer_size()]
        await until(lambda: len(server_side.data) == size)
        found.append(list(client.events))
        await closed(client, server_side)
        return found

    assert same_as_asyncio(body) == [["made"], 0, ["made"]]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("size", [1000, 20_000, 70_000, 300_000])
async def test_a_small_socket_buffer_pauses_inside_write(loop, size, kept):
    """Whatever the socket has no room for is held when write() returns."""
    server_side, client, server = await connected()
    client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client.transport.set_write_buffer_limits(high=500)
    server_side.transport.pause_reading()
    await turns(2)
    total = 0
    while "pause" not in client.events and total < 64_000_000:
        client.transport.write(piece(size, kept))
        total += size
        held = client.transport.get_write_buffer_size()
        assert (held > 500) == ("pause" in client.events)
    assert client.events == ["made", "pause"]
    await drained(server_side, client, total)
    assert client.events == ["made", "pause", "resume"]
    await closed(client, server_side)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("small", [0, 1])
async def test_pause_never_comes_later_than_the_write(loop, small, kept):
    """Not even when many writes, one in each turn, fill the socket bit by bit."""
    server_side, client, server = await connected()
    server_side.transport.pause_reading()
    await turns(2)
    total = 0
    while "pause" not in client.events and total < 64_000_000:
        for size in [1] * 20 * small + [100_000]:
            client.transport.write(piece(size, kept))
            total += size
            at_write = list(client.events)
            await turns(1)
            assert client.events == at_write
    assert client.events == ["made", "pause"]
    await drained(server_side, client, total)
    assert client.events == ["made", "pause", "resume"]
    await closed(client, server_side)


@pytest.mark.parametrize("kept", [True, False])
async def test_closing_or_aborting_after_a_large_write(loop, kept):
    """What the socket had room for is not lost by close(); by abort() only what is held."""
    for method in ("close", "abort"):
        server_side, client, server = await connected()
        client.transport.write(piece(150_000, kept))
        getattr(client.transport, method)()
        await until(lambda: server_side.events[-1] == "lost")
        assert len(server_side.data) == 150_000
        await closed(client, server_side)


async def test_high_zero_pauses_on_any_held_byte(loop):
    server_side, client, written = await full()
    client.transport.set_write_buffer_limits(high=0)
    client.transport.write(b"y")
    assert client.events == ["made", "pause"]
    await drained(server_side, client, written + 1)
    assert client.events == ["made", "pause", "resume"]
    await closed(client, server_side)


@pytest.mark.parametrize("high", [0, 1, 10])
def test_writes_the_kernel_takes_pause_nobody(same_as_asyncio, high):
    """Only what the kernel refuses counts against the water marks."""

    async def body(loop):
        server_side, client, server = await connected()
        client.transport.set_write_buffer_limits(high=high)
        for _ in range(10):
            client.transport.write(b"x" * 100)
            client.transport.writelines([b"y" * 50, b"z" * 50])
        await until(lambda: len(server_side.data) == 2000)
        events = list(client.events)
        await closed(client, server_side)
        return events

    assert same_as_asyncio(body) == ["made"]


def test_setting_limits_below_what_is_held(same_as_asyncio):
    async def body(loop):
        server_side, client, written = await full()
        client.transport.write(b"y" * 60_000)
        before = list(client.events)
        client.transport.set_write_buffer_limits(high=10, low=5)
        after = list(client.events)
        await drained(server_side, client, written + 60_000)
        events = list(client.events)
        await closed(client, server_side)
        return before, after, events

    same_as_asyncio(body)


async def test_resume_comes_when_the_buffer_is_at_the_low_mark(loop):
    sizes = []

    class Watches(Recorder):
        def resume_writing(self):
            super().resume_writing()
            sizes.append(self.transport.get_write_buffer_size())

    server_side, client, written = await full(client_factory=Watches)
    client.transport.set_write_buffer_limits(high=100_000, low=20_000)
    client.transport.write(b"y" * 1_000_000)
    await drained(server_side, client, written + 1_000_000)
    assert len(sizes) == 1 and sizes[0] <= 20_000
    await closed(client, server_side)


async def test_the_buffer_size_counts_every_held_byte(loop):
    server_side, client, written = await full()
    held = client.transport.get_write_buffer_size()
    client.transport.write(b"y" * 1000)
    client.transport.writelines([b"a" * 10, bytearray(20), memoryview(bytes(30))])
    assert client.transport.get_write_buffer_size() == held + 1060
    await drained(server_side, client, written + 1060)
    assert client.transport.get_write_buffer_size() == 0
    await closed(client, server_side)


async def test_a_burst_in_one_turn_is_paused(loop):
    """A protocol that writes without awaiting must be told to pause when too much is held."""
    server_side, client, server = await connected()
    server_side.transport.pause_reading()
    await turns(2)
    total = 0
    while "pause" not in client.events and total < 64_000_000:
        client.transport.write(b"x" * 65536)
        total += 65536
    assert client.events == ["made", "pause"]
    await drained(server_side, client, total)
    assert client.events == ["made", "pause", "resume"]
    await closed(client, server_side)


async def test_writing_more_in_resume_writing(loop):
    class Greedy(Recorder):
        left = 5

        def resume_writing(self):
            super().resume_writing()
            if self.left:
                self.left -= 1
                self.transport.write(b"z" * 20_000_000)

    server_side, client, written = await full(client_factory=Greedy)
    client.transport.write(b"y" * 500_000)
    await drained(server_side, client, written + 500_000 + 5 * 20_000_000)
    assert client.events[0] == "made"
    assert client.events[1:] == ["pause", "resume"] * ((len(client.events) - 1) // 2)
    await closed(client, server_side)


async def test_writing_to_another_transport_in_resume_writing(loop):
    first_server, first, written = await full()
    second_server, second, server = await connected()
    first.transport.write(b"y" * 300_000)

    def resume():
        first.events.append("resume")
        second.transport.write(b"from the other's resume")

    first.resume_writing = resume
    await drained(first_server, first, written + 300_000)
    await until(lambda: second_server.data == b"from the other's resume")
    await closed(first, first_server, second, second_server)


async def test_closing_in_pause_writing_brings_one_resume_when_the_queue_has_drained(loop):
    class Closes(Recorder):
        def pause_writing(self):
            super().pause_writing()
            self.transport.close()

    server_side, client, written = await full(client_factory=Closes)
    client.transport.write(b"y" * 200_000)
    assert client.events == ["made", "pause"]
    server_side.transport.resume_reading()
    await client.lost
    assert client.events == ["made", "pause", "resume", "lost"]
    await server_side.lost
    assert len(server_side.data) == written + 200_000


async def test_aborting_in_pause_writing_brings_no_resume(loop):
    class Aborts(Recorder):
        def pause_writing(self):
            super().pause_writing()
            self.transport.abort()

    server_side, client, written = await full(client_factory=Aborts)
    client.transport.write(b"y" * 200_000)
    await client.lost
    assert client.events == ["made", "pause", "lost"]
    server_side.transport.resume_reading()
    await server_side.lost


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
async def test_an_error_in_pause_or_resume_is_reported(loop, method):
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))
    server_side, client, written = await full()

    def fails():
        raise LookupError(method)

    setattr(client, method, fails)
    client.transport.write(b"y" * 200_000)
    await drained(server_side, client, written + 200_000)
    (context,) = found
    assert str(context["exception"]) == method
    assert context["protocol"] is client and context["transport"] is client.transport
    assert context["message"] == f"protocol.{method}() failed"
    await closed(client, server_side)


async def test_pause_reading_holds_data_back(loop):
    server_side, client, server = await connected()
    server_side.transport.pause_reading()
    assert not server_side.transport.is_reading()
    client.transport.write(b"held")
    await asyncio.sleep(0.005)
    assert server_side.data == b""
    server_side.transport.resume_reading()
    assert server_side.transport.is_reading()
    await until(lambda: server_side.data == b"held")
    await closed(client, server_side)


async def test_pause_and_resume_reading_twice(loop):
    server_side, client, server = await connected()
    for _ in range(2):
        server_side.transport.pause_reading()
    client.transport.write(b"data")
    for _ in range(2):
        server_side.transport.resume_reading()
    await until(lambda: server_side.data == b"data")
    await closed(client, server_side)


async def test_pausing_inside_data_received_stops_at_once(loop):
    class OnePiece(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.pieces = getattr(self, "pieces", 0) + 1
            self.transport.pause_reading()

    server_side, client, server = await connected(OnePiece)
    data = b"x" * 3_000_000
    client.transport.write(data)
    client.transport.write_eof()
    while len(server_side.data) < len(data):
        await until(lambda: not server_side.transport.is_reading())
        before = server_side.pieces
        await turns(5)
        assert server_side.pieces == before
        server_side.transport.resume_reading()
    await server_side.eof
    await closed(client, server_side)


async def test_pausing_in_connection_made(loop):
    class Paused(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    server_side, client, server = await connected(Paused)
    client.transport.write(b"early")
    await asyncio.sleep(0.005)
    assert server_side.data == b"" and not server_side.transport.is_reading()
    server_side.transport.resume_reading()
    await until(lambda: server_side.data == b"early")
    await closed(client, server_side)


async def test_pausing_and_resuming_after_close_does_nothing(loop):
    server_side, client, server = await connected()
    client.transport.close()
    client.transport.pause_reading()
    client.transport.resume_reading()
    assert not client.transport.is_reading()
    await client.lost
    client.transport.pause_reading()
    client.transport.resume_reading()
    assert not client.transport.is_reading()
    await closed(server_side)


async def test_a_paused_reader_does_not_see_the_end_before_the_data(loop):
    server_side, client, server = await connected()
    server_side.transport.pause_reading()
    client.transport.write(b"x" * 100_000)
    client.transport.close()
    await client.lost
    await asyncio.sleep(0.002)
    assert server_side.events == ["made"]
    server_side.transport.resume_reading()
    await server_side.lost
    assert server_side.events == ["made", "data", "eof", "lost"]
    assert len(server_side.data) == 100_000


async def test_a_reader_that_keeps_pausing_gets_everything(loop):
    class Sluggish(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.transport.resume_reading)

    server_side, client, server = await connected(Sluggish)
    data = bytes(range(256)) * 20_000
    client.transport.write(data)
    client.transport.close()
    await server_side.lost
    assert server_side.data == data


async def test_the_kernel_pushes_back_on_the_sender(loop):
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    transport, protocol = await loop.create_connection(Recorder, sock=left)
    for _ in range(200):
        transport.write(b"x" * 65536)
    await turns(3)
    assert transport.get_write_buffer_size() > 1_000_000
    assert protocol.events == ["made", "pause"]
    received = 0
    while received < 200 * 65536:
        try:
            received += len(right.recv(1 << 20))
        except BlockingIOError:
            await asyncio.sleep(0)
    await until(lambda: protocol.events == ["made", "pause", "resume"])
    right.close()
    await closed(protocol)


def test_reading_twice_is_no_error_but_bad_arguments_are(same_as_asyncio):
    async def body(loop):
        server_side, client, server = await connected()
        found = [
            error_of(client.transport.pause_reading, 1)[0],
            error_of(client.transport.set_write_buffer_limits, 1, 2, 3)[0],
            client.transport.pause_reading(),
            client.transport.resume_reading(),
            client.transport.get_write_buffer_size(),
        ]
        await closed(client, server_side)
        return found

    assert same_as_asyncio(body)[:2] == ["TypeError", "TypeError"]


@pytest.mark.parametrize("kept", [True, False])
async def test_large_answers_to_many_connections_in_one_turn(loop, kept):
    """More than is held back in all, several times in a row: nothing is lost, nobody is paused."""
    pairs = [await connected() for _ in range(30)]
    answers = [bytes([i]) * 200_000 for i in range(30)] if kept else None
    for _ in range(4):
        for i, (server_side, _, _) in enumerate(pairs):
            server_side.transport.write(answers[i] if kept else bytes([i]) * 200_000)
        await until(lambda: all(len(client.data) % 200_000 == 0 for _, client, _ in pairs))
    await until(lambda: all(len(client.data) == 800_000 for _, client, _ in pairs))
    for i, (server_side, client, _) in enumerate(pairs):
        assert bytes(client.data) == bytes([i]) * 800_000
        assert server_side.transport.get_write_buffer_size() == 0
        await closed(client, server_side)
