"""Two protocols that are connected over TLS."""

import asyncio

from tests.support import HOST, Recorder, turns


async def tls(contexts, server_factory=Recorder, client_factory=Recorder, **options):
    loop = asyncio.get_running_loop()
    accepted = loop.create_future()

    def accept():
        protocol = server_factory()
        accepted.set_result(protocol)
        return protocol

    server = await loop.create_server(accept, HOST, 0, ssl=contexts[0])
    address = server.sockets[0].getsockname()
    _, client = await loop.create_connection(
        client_factory, *address, ssl=contexts[1], server_hostname="localhost", **options
    )
    server_side = await accepted
    await server_side.made
    server.close()
    return server_side, client


async def closed(*protocols):
    for protocol in protocols:
        protocol.transport.close()
    for protocol in protocols:
        await asyncio.wait_for(asyncio.shield(protocol.lost), 10)
    await turns(3)
