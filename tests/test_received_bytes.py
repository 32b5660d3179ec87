"""What data_received() and datagram_received() get is the protocol's own while it keeps it."""

import asyncio
import gc
import socket
import sys
import tracemalloc

import pytest

from tests.support import HOST, Recorder, closed, over_socket, until

SIZES = [1, 479, 480, 481, 512, 1000, 1024, 1023, 920, 1100, 1024, 4096, 4000, 16384, 16385, 600]


class Taking(Recorder):
    """Hands every message to `take`, and keeps nothing of it itself."""

    def __init__(self, take):
        super().__init__()
        self.take = take
        self.count = 0

    def data_received(self, data):
        self.count += 1
        self.take(data)


def message(number, size):
    return bytes([65 + number % 26]) * size


async def send_each(loop, take, messages):
    """Each of the messages comes in one piece, after the one before was taken."""
    _, protocol, sock = await over_socket(loop, lambda: Taking(take))
    with sock:
        for number, sent in enumerate(messages):
            await loop.sock_sendall(sock, sent)
            await until(lambda wanted=number + 1: protocol.count == wanted)
    await closed(protocol)


@pytest.mark.parametrize("kept", [1, 2, 3, 7])
async def test_a_message_that_is_kept_does_not_change(loop, kept):
    messages = [message(number, size) for number, size in enumerate(SIZES * 4)]
    seen, keeping = [], {}

    def take(data):
        if len(seen) % kept == 0:
            keeping[len(seen)] = data
        seen.append(bytearray(data))

    await send_each(loop, take, messages)
    assert [bytes(data) for data in seen] == messages
    assert all(data == messages[number] for number, data in keeping.items())
    assert all(sys.getsizeof(data) == sys.getsizeof(b"") + len(data) for data in keeping.values())


async def test_a_view_of_a_message_keeps_it(loop):
    messages = [message(number, 1024) for number in range(20)]
    views = []
    await send_each(loop, lambda data: views.append(memoryview(data)[:10]), messages)
    assert [bytes(view) for view in views] == [sent[:10] for sent in messages]


async def test_messages_of_one_size_have_hashes_of_their_own(loop):
    messages = [message(number, 1024) for number in range(10)]
    hashes = []
    await send_each(loop, lambda data: hashes.append(hash(data)), messages)
    assert hashes == [hash(sent) for sent in messages]


async def test_a_shorter_message_ends_where_it_ends(loop):
    messages = [b"1" * 600, b"2" * 560, b"3" * 590, b"4" * 600]
    numbers = []
    await send_each(loop, lambda data: numbers.append(int(data)), messages)
    assert numbers == [int(sent) for sent in messages]


@pytest.mark.parametrize("kept", [1, 3])
async def test_datagrams_that_are_kept_do_not_change(loop, kept):
    got = []

    class Keeping(asyncio.DatagramProtocol):
        def datagram_received(self, data, address):
            got.append(data if len(got) % kept == 0 else bytearray(data))

    transport, _ = await loop.create_datagram_endpoint(Keeping, local_addr=(HOST, 0))
    messages = [message(number, size) for number, size in enumerate([1024, 1000, 1024, 480] * 10)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(transport.get_extra_info("sockname"))
        for start in range(0, len(messages), 8):
            for sent in messages[start : start + 8]:
                sock.send(sent)
            await until(lambda wanted=start + 8: len(got) == wanted)
    transport.close()
    await asyncio.sleep(0)
    assert [bytes(data) for data in got] == messages


def test_a_closed_loop_holds_no_message(new_loop):
    def receive():
        loop = new_loop()
        try:
            loop.run_until_complete(send_each(loop, len, [message(i, 16000) for i in range(6)]))
        finally:
            loop.close()
        gc.collect()

    receive()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10):
            receive()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 100_000
