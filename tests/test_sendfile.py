"""loop.sendfile() over a transport: what is sent, in which order, and what is refused."""

import asyncio
import io
import os
import socket
import time

import pytest

from tests.support import Recorder, closed, connected, until

DATA = bytes(range(256)) * 1024  # 256 KiB
LARGE = DATA * 80  # 20 MiB: no socket takes that at once


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with path.open("rb") as opened:
        yield opened


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    with path.open("rb") as opened:
        yield opened


@pytest.mark.parametrize("offset", [0, 1000, len(DATA) - 1, len(DATA), len(DATA) + 1])
@pytest.mark.parametrize("count", [None, 1, 5000, 100_000, 10 * len(DATA)])
async def test_a_part_of_a_file(loop, file, offset, count):
    receiver, sender, _ = await connected(Recorder)
    wanted = DATA[offset:] if count is None else DATA[offset : offset + count]
    sender.transport.write(b"head ")
    assert await loop.sendfile(sender.transport, file, offset, count) == len(wanted)
    assert not wanted or file.tell() == offset + len(wanted)
    sender.transport.write(b" tail")
    await until(lambda: receiver.data.endswith(b" tail"))
    assert receiver.data == b"head " + wanted + b" tail"
    await closed(sender, receiver)


async def test_one_after_the_other(loop, file):
    receiver, sender, _ = await connected(Recorder)
    for number in range(20):
        sender.transport.write(b"%d " % number)
        assert await loop.sendfile(sender.transport, file, number, 100) == 100
    await until(lambda: receiver.data.endswith(DATA[19:119]))
    assert receiver.data == b"".join(b"%d " % n + DATA[n : n + 100] for n in range(20))
    await closed(sender, receiver)


async def test_a_file_that_the_socket_does_not_take_at_once(loop, large):
    receiver, sender, _ = await connected(Recorder)
    receiver.transport.pause_reading()
    sending = asyncio.ensure_future(loop.sendfile(sender.transport, large, 7, len(LARGE) - 7))
    await asyncio.sleep(0.01)
    assert not sending.done()
    with pytest.raises(RuntimeError, match="sendfile is in progress"):
        sender.transport.write(b"meanwhile")
    receiver.transport.resume_reading()
    assert await sending == len(LARGE) - 7
    sender.transport.write(b"tail")
    await until(lambda: len(receiver.data) == len(LARGE) - 3)
    assert receiver.data == LARGE[7:] + b"tail"
    await closed(sender, receiver)


async def test_behind_writes_that_the_socket_does_not_take(loop, file):
    receiver, sender, _ = await connected(Recorder)
    receiver.transport.pause_reading()
    sender.transport.write(LARGE)
    sending = asyncio.ensure_future(loop.sendfile(sender.transport, file, 0, 1000))
    await asyncio.sleep(0.01)
    assert not sending.done()
    receiver.transport.resume_reading()
    assert await sending == 1000
    await until(lambda: len(receiver.data) == len(LARGE) + 1000)
    assert receiver.data == LARGE + DATA[:1000]
    await closed(sender, receiver)


@pytest.mark.parametrize(("written", "left"), [(b"x", 0), (b"", 10)])
async def test_nothing_is_held_back_for_what_the_file_does_not_have(loop, file, written, left):
    """What was written before, or its last bytes: told of more, a kernel waits up to 200 ms."""
    receiver, sender, _ = await connected(Recorder)
    size = len(written) + left
    least = 1.0
    for number in range(1, 6):
        begun = time.monotonic()
        sender.transport.write(written)
        assert await loop.sendfile(sender.transport, file, len(DATA) - left, 100) == left
        await until(lambda number=number: len(receiver.data) == size * number)
        least = min(least, time.monotonic() - begun)
    assert least < 0.1
    await closed(sender, receiver)


async def test_reading_goes_on(loop, file, large):
    receiver, sender, _ = await connected(Recorder)
    for source, count in ((file, 1000), (large, len(LARGE))):
        receiver.transport.write(b"question")
        await loop.sendfile(sender.transport, source, 0, count)
        receiver.transport.write(b"another")
        await until(lambda: sender.data.endswith(b"another"))
        assert sender.transport.is_reading()
    sender.transport.pause_reading()
    await loop.sendfile(sender.transport, file, 0, 1000)
    assert not sender.transport.is_reading()
    await closed(sender, receiver)


def test_it_takes_as_many_turns_as_in_asyncio(same_as_asyncio, file):
    async def body(loop):
        receiver, sender, _ = await connected(Recorder)
        events, turns = [], 0

        async def send():
            events.append(await loop.sendfile(sender.transport, file, 0, 10))
            events.append("sent")

        task = asyncio.ensure_future(send())
        loop.call_soon(events.append, "soon")
        while not task.done() and turns < 50:
            await asyncio.sleep(0)
            turns += 1
            if turns <= 2:
                events.append(turns)
        await closed(sender, receiver)
        return events

    events = same_as_asyncio(body)
    assert events[0] == "soon" and events[-2:] == [10, "sent"]


async def test_cancelled(loop, file, large):
    receiver, sender, _ = await connected(Recorder)
    task = asyncio.ensure_future(loop.sendfile(sender.transport, file, 0, 1000))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    receiver.transport.pause_reading()
    task = asyncio.ensure_future(loop.sendfile(sender.transport, large, 0, len(LARGE)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    sender.transport.write(b"after")  # is not refused
    sender.transport.abort()
    receiver.transport.resume_reading()
    await sender.lost
    await receiver.lost


async def test_the_peer_goes_away_in_the_middle(loop, large):
    receiver, sender, _ = await connected(Recorder)
    receiver.transport.pause_reading()
    task = asyncio.ensure_future(loop.sendfile(sender.transport, large, 0, len(LARGE)))
    await asyncio.sleep(0.01)
    receiver.transport.abort()
    with pytest.raises(ConnectionError):
        await task
    sender.transport.abort()
    await sender.lost
    await receiver.lost


def test_what_is_refused(same_as_asyncio, file, tmp_path):
    async def body(loop):
        receiver, sender, _ = await connected(Recorder)
        errors = []

        async def send(*args, **kwargs):
            try:
                return await loop.sendfile(*args, **kwargs)
            except Exception as exc:
                return type(exc).__name__, str(exc)

        for offset, count in ((-1, 1), (0, 0), (0, -1), (0, 1.5), ("0", 1), (0.5, None)):
            errors.append(await send(sender.transport, file, offset, count))
        with (tmp_path / "text").open("w+") as text:
            errors.append(await send(sender.transport, text, 0, 1))
        errors.append(await send(sender.transport, io.BytesIO(DATA), 0, 10, fallback=False))
        errors.append(await send(sender.transport, io.BytesIO(DATA), 0, 10))
        with (tmp_path / "closed").open("wb+") as gone:
            pass
        errors.append(await send(sender.transport, gone, 0, 1))
        errors.append(sender.transport.is_reading())
        sender.transport.close()
        errors.append(await send(sender.transport, file, 0, 1))
        await receiver.eof
        await closed(sender, receiver)
        return [*errors, bytes(receiver.data)]

    results = same_as_asyncio(body)
    assert results[-1] == DATA[:10]


async def test_over_unix_sockets(loop, file):
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    transport.write(b"head ")
    assert await loop.sendfile(transport, file, 100, 2000) == 2000
    got = b""
    while len(got) < 2005:
        got += theirs.recv(10_000)
    assert got == b"head " + DATA[100:2100]
    theirs.close()
    await closed(protocol)


def test_from_a_descriptor_that_is_no_file(same_as_asyncio):
    async def body(loop):
        receiver, sender, _ = await connected(Recorder)
        reading, writing = os.pipe()
        os.write(writing, b"through a pipe")
        os.close(writing)
        with open(reading, "rb") as pipe:
            with pytest.raises((asyncio.SendfileNotAvailableError, OSError)) as info:
                await loop.sendfile(sender.transport, pipe, 0, 10, fallback=False)
            assert sender.transport.is_reading()
        await closed(sender, receiver)
        return info.type

    assert issubclass(same_as_asyncio(body), Exception)
