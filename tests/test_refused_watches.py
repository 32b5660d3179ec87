"""Descriptors that the kernel will not watch: who waits for one hears of it, nobody waits for ever.

In production that is a lack of memory or of watches (ENOMEM, ENOSPC). Here a regular file takes the
place of the socket under its number, which epoll refuses with EPERM in the same place.
"""

import asyncio
import os
import socket
import sys
import tempfile

import pytest

from tests.support import HOST, Recorder, connected, turns

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only epoll refuses regular files")


def put_file_under(number):
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), number)


async def test_a_transport_is_closed_with_the_error(loop_name, loop):
    if loop_name == "asyncio":
        pytest.skip("asyncio raises from resume_reading(), which tells the kernel at once")
    server_side, client, server = await connected()
    client.transport.pause_reading()
    await turns(2)
    put_file_under(client.transport.get_extra_info("socket").fileno())
    client.transport.resume_reading()
    assert type(await asyncio.wait_for(client.lost, 5)) is PermissionError
    assert client.events[-1] == "lost PermissionError"
    await asyncio.wait_for(server_side.lost, 5)


def test_a_server_is_not_started(same_as_asyncio):
    class TurnsIntoFile(socket.socket):
        def listen(self, *args):
            super().listen(*args)
            put_file_under(self.fileno())

    async def body(loop):
        with TurnsIntoFile() as listening:
            listening.bind((HOST, 0))
            try:
                await loop.create_server(Recorder, sock=listening)
            except OSError as exc:
                return type(exc).__name__, exc.errno
        return None

    assert same_as_asyncio(body) == ("PermissionError", 1)


async def test_a_connection_being_made_fails(loop_name, loop):
    if loop_name == "asyncio":
        pytest.skip("asyncio tells the kernel at once, so there is no moment to swap the file")

    with socket.create_server((HOST, 0)) as listening:
        connecting = asyncio.ensure_future(
            loop.create_connection(Recorder, *listening.getsockname())
        )
        number = os.dup(listening.fileno())  # the lowest that is free, which the next one gets
        os.close(number)
        loop.call_soon(put_file_under, number)
        with pytest.raises(PermissionError, match="Connect call failed"):
            await asyncio.wait_for(connecting, 5)
