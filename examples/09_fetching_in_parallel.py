"""Fetching many pages at the same time with aiohttp, client and server both on pyasync.

Needs aiohttp (pip install aiohttp). The server runs in this program, on a free port.
"""

import asyncio
import time

import aiohttp
from aiohttp import web

import pyasync
from pyasync import flow

PAGES = 20


async def page(request: web.Request) -> web.Response:
    await asyncio.sleep(0.1)  # a slow database
    return web.Response(text=f"page {request.match_info['number']} " + "x" * 10_000)


async def start_server() -> tuple[web.AppRunner, str]:
    application = web.Application()
    application.router.add_get("/page/{number}", page)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    return runner, f"http://{host}:{port}"


async def main() -> None:
    runner, address = await start_server()
    async with aiohttp.ClientSession(address) as session:

        async def fetch(number: int) -> str:
            async with session.get(f"/page/{number}") as response:
                response.raise_for_status()
                return await response.text()

        begin = time.perf_counter()
        await flow.map(fetch, range(PAGES), limit=1)
        print(f"one after the other: {time.perf_counter() - begin:.2f} s")

        # asyncio's own way: start them all, take the results in the order of the arguments.
        begin = time.perf_counter()
        texts = await asyncio.gather(*(fetch(number) for number in range(PAGES)))
        print(f"all at once: {time.perf_counter() - begin:.2f} s")
        print(f"{len(texts)} pages, {sum(map(len, texts))} characters")

        # To be kind to the server: at most five at a time, handled as they come.
        begin = time.perf_counter()
        async with flow.map(fetch, range(PAGES), limit=5, as_completed=True) as pages:
            came = [text.split()[1] async for text in pages]
        print(f"five at a time: {time.perf_counter() - begin:.2f} s")
        print("all came:", sorted(came, key=int) == [str(number) for number in range(PAGES)])
    await runner.cleanup()


if __name__ == "__main__":
    pyasync.run(main())
