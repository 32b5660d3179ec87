"""BufferedProtocol: data is read into the protocol's own buffer; changes of protocol."""

import asyncio

import pytest

from tests.support import Recorder, closed, connected, error_of, turns, until


class Buffered(asyncio.BufferedProtocol):
    """Collects what arrives through a buffer of `size` bytes."""

    size = 1000

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.events = []
        self.hints = []
        self.data = bytearray()
        self.buffer = bytearray(self.size)
        self.lost = loop.create_future()
        self.eof = loop.create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.events.append("made")

    def get_buffer(self, sizehint):
        self.hints.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes):
        assert type(nbytes) is int and 0 < nbytes <= self.size
        self.data += self.buffer[:nbytes]

    def eof_received(self):
        self.events.append("eof")
        self.eof.set_result(None)

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    def connection_lost(self, exc):
        self.events.append("lost" if exc is None else f"lost {type(exc).__name__}")
        self.lost.set_result(exc)


@pytest.mark.parametrize("size", [1, 7, 1000, 65_536, 1_000_000])
async def test_data_arrives_through_the_buffer(loop, size):
    server_side, client, server = await connected(type("Sized", (Buffered,), {"size": size}))
    data = bytes(range(256)) * (2 if size < 10 else 4000)
    client.transport.write(data)
    client.transport.write_eof()
    await server_side.eof
    assert server_side.data == data
    await server_side.lost
    assert server_side.events == ["made", "eof", "lost"]
    await client.lost


def test_the_hint_says_any_size(same_as_asyncio):
    async def body(loop):
        server_side, client, server = await connected(Buffered)
        client.transport.write(b"x" * 100)
        client.transport.write_eof()
        await server_side.eof
        await server_side.lost
        await client.lost
        return set(server_side.hints)

    assert same_as_asyncio(body) == {-1}


async def test_memoryviews_and_other_buffers(loop):
    import array

    class Kinds(Buffered):
        kinds = 0

        def get_buffer(self, sizehint):
            self.kinds += 1
            if self.kinds % 3 == 0:
                self.current = array.array("B", bytes(50))
            elif self.kinds % 3 == 1:
                self.current = memoryview(bytearray(80))[10:60]
            else:
                self.current = bytearray(50)
            return self.current

        def buffer_updated(self, nbytes):
            self.data += bytes(memoryview(self.current)[:nbytes])

    server_side, client, server = await connected(Kinds)
    data = bytes(range(256)) * 20
    client.transport.write(data)
    client.transport.write_eof()
    await server_side.eof
    assert server_side.data == data
    await closed(client, server_side)


@pytest.mark.parametrize(
    "bad",
    [None, 5, "text", b"read-only", bytearray(0), memoryview(bytearray(10))[::2]],
    ids=["None", "int", "str", "bytes", "empty", "strided"],
)
def test_bad_buffers_end_the_connection(same_as_asyncio, bad):
    async def body(loop):
        found = []
        loop.set_exception_handler(lambda loop, context: found.append(context))

        class Bad(Buffered):
            def get_buffer(self, sizehint):
                return bad

        server_side, client, server = await connected(Bad)
        client.transport.write(b"data")
        await asyncio.wait([server_side.lost], timeout=5)
        server_side.transport.abort()
        await client.lost
        return (
            [context["message"] for context in found],
            [type(context["exception"]).__name__ for context in found],
            server_side.events[0],
            server_side.events[-1].split(" ")[0],
        )

    messages, *_ = same_as_asyncio(body)
    assert len(messages) == 1


@pytest.mark.parametrize("callback", ["get_buffer", "buffer_updated", "eof_received"])
def test_an_error_is_fatal_and_reported(same_as_asyncio, callback):
    async def body(loop):
        found = []
        loop.set_exception_handler(lambda loop, context: found.append(context))

        def fail(self, *args):
            raise LookupError(callback)

        server_side, client, server = await connected(type("Bad", (Buffered,), {callback: fail}))
        client.transport.write(b"data")
        if callback == "eof_received":
            client.transport.write_eof()
        await server_side.lost
        client.transport.abort()
        await client.lost
        return [(c["message"], str(c["exception"])) for c in found], server_side.events

    found, events = same_as_asyncio(body)
    assert found[0][1] == callback and events == ["made", "lost LookupError"]


@pytest.mark.parametrize("deed", ["close", "abort", "pause_reading"])
@pytest.mark.parametrize("callback", ["get_buffer", "buffer_updated"])
async def test_turning_on_the_transport(loop, callback, deed):
    def act(self, argument):
        result = getattr(Buffered, callback)(self, argument)
        getattr(self.transport, deed)()
        return result

    server_side, client, server = await connected(type("Acts", (Buffered,), {callback: act}))
    client.transport.write(b"x" * 5000)
    await turns(5)
    await asyncio.sleep(0.005)
    if deed == "pause_reading":
        assert not server_side.transport.is_reading()
        server_side.transport.resume_reading()
        await turns(3)
        server_side.transport.close()
    await server_side.lost
    await client.lost
    assert server_side.events == ["made", "lost"]


async def test_pausing_after_each_piece_loses_nothing(loop):
    class Sluggish(Buffered):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.transport.resume_reading)

    server_side, client, server = await connected(Sluggish)
    data = bytes(range(256)) * 200
    client.transport.write(data)
    client.transport.write_eof()
    await server_side.eof
    assert server_side.data == data
    await closed(client, server_side)


async def test_the_buffer_may_be_resized_between_reads(loop):
    """No export of the buffer may be kept while the loop waits."""
    server_side, client, server = await connected(Buffered)
    for size in (10, 5000, 1, 300):
        server_side.buffer = bytearray(size)
        client.transport.write(b"x" * 100)
        before = len(server_side.data)
        await until(lambda before=before: len(server_side.data) == before + 100)
        server_side.buffer.extend(b"grows")
        server_side.buffer.clear()
        server_side.buffer.extend(bytes(50))
    await closed(client, server_side)


async def test_from_protocol_to_buffered_and_back(loop):
    server_side, client, server = await connected()
    buffered = Buffered()
    buffered.transport = server_side.transport
    client.transport.write(b"first")
    await until(lambda: server_side.data == b"first")
    server_side.transport.set_protocol(buffered)
    assert server_side.transport.get_protocol() is buffered
    client.transport.write(b"second")
    await until(lambda: buffered.data == b"second")
    server_side.transport.set_protocol(server_side)
    client.transport.write(b"third")
    await until(lambda: server_side.data == b"firstthird")
    await closed(client, server_side)


async def test_changing_the_protocol_in_the_middle_of_data(loop):
    """What comes after the callback that switched goes to the new protocol."""

    class Switches(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.next = Buffered()
            self.next.transport = self.transport
            self.transport.set_protocol(self.next)

    server_side, client, server = await connected(Switches)
    client.transport.write(b"a")
    await until(lambda: server_side.data == b"a")
    client.transport.write(b"b" * 100_000)
    client.transport.write_eof()
    await server_side.next.eof
    assert server_side.next.data == b"b" * 100_000
    assert server_side.data == b"a"
    await server_side.next.lost
    assert server_side.next.events == ["eof", "lost"]
    await client.lost
    assert not server_side.lost.done()


async def test_changing_the_protocol_while_paused(loop):
    server_side, client, server = await connected()
    server_side.transport.pause_reading()
    client.transport.write(b"waiting")
    await turns(3)
    buffered = Buffered()
    buffered.transport = server_side.transport
    server_side.transport.set_protocol(buffered)
    assert buffered.data == b"" and not server_side.transport.is_reading()
    server_side.transport.resume_reading()
    await until(lambda: buffered.data == b"waiting")
    client.transport.close()
    await buffered.lost
    await client.lost


async def test_the_new_protocol_gets_pause_and_end(loop):
    server_side, client, server = await connected()
    server_side.transport.pause_reading()
    other = Recorder()
    other.events.append("set")
    client.transport.set_protocol(other)
    client.transport.write(b"x" * 20_000_000)
    await turns(2)
    assert other.events == ["set", "pause"]
    server_side.transport.resume_reading()
    await until(lambda: other.events == ["set", "pause", "resume"])
    client.transport.close()
    await other.lost
    assert client.events == ["made"]
    await server_side.lost


def test_objects_that_only_look_like_protocols(same_as_asyncio):
    """Duck-typed protocols work; one that is no protocol at all ends in an error report."""

    async def body(loop):
        found = []
        loop.set_exception_handler(lambda loop, context: found.append(context["message"]))
        log = []

        class Duck:
            def connection_made(self, transport):
                log.append("made")
                self.transport = transport

            def data_received(self, data):
                log.append(bytes(data))

            def eof_received(self):
                log.append("eof")

            def connection_lost(self, exc):
                log.append("lost")

        server_side, client, server = await connected(Duck)
        client.transport.write(b"data")
        await until(lambda: b"data" in log)
        client.transport.close()
        await client.lost
        await until(lambda: "lost" in log)
        await turns(2)
        return log, found, error_of(client.transport.set_protocol)[0]

    log, found, kind = same_as_asyncio(body)
    assert log == ["made", b"data", "eof", "lost"] and found == []
