"""Debug mode logs the methods of protocols that take longer than slow_callback_duration."""

import asyncio
import time

import pytest

from tests.support import Recorder, closed, connected


@pytest.mark.parametrize("debug", [True], indirect=True)
async def test_a_slow_data_received_is_logged(loop, asyncio_log):
    class Slow(Recorder):
        def data_received(self, data):
            time.sleep(0.03)
            super().data_received(data)

    loop.slow_callback_duration = 0.02
    slow, client, _ = await connected(Slow)
    asyncio_log.take()
    client.transport.write(b"x")
    while not slow.data:
        await asyncio.sleep(0)
    messages = [text for text in asyncio_log.take() if "_read_ready" in text]
    assert len(messages) == 1 and "took 0.0" in messages[0]
    loop.slow_callback_duration = 10
    await closed(slow)
    await client.lost
    asyncio_log.take()
