"""A thousand connections at once: each is served, none is mixed up with another, all end."""

import asyncio

from tests.support import HOST, Recorder

COUNT = 1000


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def test_a_thousand_connections(loop):
    server = await loop.create_server(Echo, HOST, 0, backlog=COUNT)
    address = server.sockets[0].getsockname()
    clients = []
    for _ in range(COUNT // 100):
        batch = (loop.create_connection(Recorder, *address) for _ in range(100))
        clients += await asyncio.gather(*batch)
    for i, (transport, _) in enumerate(clients):
        transport.write(b"%d," % i * 50)
    for transport, _ in clients:
        transport.write_eof()
    for i, (_, protocol) in enumerate(clients):
        await asyncio.wait_for(protocol.lost, 20)
        assert protocol.data == b"%d," % i * 50
    server.close()
    await server.wait_closed()


async def test_a_thousand_connections_end_at_once(loop):
    server = await loop.create_server(Recorder, HOST, 0, backlog=COUNT)
    address = server.sockets[0].getsockname()
    clients = []
    for _ in range(COUNT // 100):
        batch = (loop.create_connection(Recorder, *address) for _ in range(100))
        clients += await asyncio.gather(*batch)
    for i, (transport, _protocol) in enumerate(clients):
        transport.abort() if i % 2 else transport.close()
    await asyncio.wait([protocol.lost for transport, protocol in clients])
    server.close()
    await asyncio.wait_for(server.wait_closed(), 20)
    await asyncio.sleep(0.05)


async def test_idle_connections_cost_no_time(loop):
    import time

    server = await loop.create_server(Recorder, HOST, 0, backlog=COUNT)
    address = server.sockets[0].getsockname()
    clients = []
    for _ in range(5):
        batch = (loop.create_connection(Recorder, *address) for _ in range(100))
        clients += await asyncio.gather(*batch)
    await asyncio.sleep(0.01)
    used = time.process_time()
    await asyncio.sleep(0.2)
    assert time.process_time() - used < 0.1
    for transport, _protocol in clients:
        transport.close()
    await asyncio.wait([protocol.lost for transport, protocol in clients])
    server.close()
    await asyncio.sleep(0.02)
