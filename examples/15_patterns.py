"""A crawler with what real ones need: rate limit, retry, circuit breaker, single flight, progress.

Needs aiohttp and rich (pip install aiohttp rich). The site that it crawls runs in this program:
pages that link to each other, some of which fail at first, and images that fail all the time.
"""

import asyncio
import time
from collections import Counter
from typing import Any

import aiohttp
from aiohttp import web
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

import pyasync
from pyasync import flow

PAGES = 50
AUTHORS = 2
RATE = 100  # requests per second that the crawler allows itself
BURST = 10  # requests that may come at once after a pause


class Site:
    """A website on a free port, which counts the requests that it gets."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.Response:
        kind, number = request.match_info["kind"], int(request.match_info["number"])
        self.requests[kind] += 1
        self.requests[request.path] += 1
        if kind == "image":
            raise web.HTTPInternalServerError  # broken for good
        if kind == "author":
            await asyncio.sleep(0.1)  # slow, and every page refers to one
            return web.json_response({"name": f"author {number}"})
        if number % 7 == 3 and self.requests[request.path] == 1:
            raise web.HTTPServiceUnavailable  # every seventh page fails the first time
        links = [f"/page/{(2 * number + step) % PAGES}" for step in (1, 2, 3)]
        return web.json_response({"links": links, "author": f"/author/{number % AUTHORS}"})

    async def start(self) -> tuple[web.AppRunner, str]:
        application = web.Application()
        application.router.add_get("/{kind}/{number}", self.answer)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        return runner, f"http://{host}:{port}"


def is_temporary(error: Exception) -> bool:
    return isinstance(error, aiohttp.ClientResponseError) and error.status == 503


class Crawler:
    """Visits every page that can be reached from the first one, each once."""

    def __init__(self, session: aiohttp.ClientSession, progress: Progress) -> None:
        self.session = session
        self.progress = progress
        self.bar = progress.add_task("crawling", total=0)
        self.seen: set[str] = set()
        self.counts: Counter[str] = Counter()

        # Ten pages at a time; what a page links to goes to the end of the queue.
        self.queue = flow.WorkQueue(self.visit, concurrency=10)
        # However many are fetched at a time, never more requests per second than this.
        self.limiter = flow.RateLimiter(RATE, burst=BURST)
        # What fails for the moment is tried again: after up to 0.05 s, 0.1 s, 0.2 s.
        self.retry = flow.retry(attempts=4, base=0.05, on=is_temporary)
        # What fails five times in a row is left alone for a minute.
        self.breaker = flow.CircuitBreaker(failures=5, reset_after=60)
        # Pages that ask for the same author at the same time share one request.
        self.flights = flow.SingleFlight()

    async def get(self, path: str) -> Any:
        async with self.limiter, self.session.get(path) as response:
            response.raise_for_status()
            return await response.json()

    async def visit(self, path: str) -> None:
        page = await self.retry.call(self.get, path)
        for link in page["links"]:
            await self.discover(link)

        author = await self.flights.call(page["author"], self.get, page["author"])
        self.counts[author["name"]] += 1
        try:
            await self.breaker.call(self.get, path.replace("page", "image"))
        except aiohttp.ClientResponseError:
            self.counts["image failed"] += 1
        except flow.CircuitOpen:
            self.counts["image left alone"] += 1
        self.progress.advance(self.bar)

    async def discover(self, path: str) -> None:
        if path not in self.seen:
            self.seen.add(path)
            self.progress.update(self.bar, total=len(self.seen))
            future = await self.queue.push(path)
            future.add_done_callback(self.check)

    def check(self, future: asyncio.Future[None]) -> None:
        if not future.cancelled() and future.exception() is not None:
            self.counts["pages given up"] += 1

    async def crawl(self, first: str) -> None:
        async with self.queue:
            await self.discover(first)
            await self.queue.drain()  # until no page is left and none can bring new ones


async def main() -> None:
    site = Site()
    runner, address = await site.start()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    begin = time.perf_counter()
    async with aiohttp.ClientSession(address) as session:
        with Progress(*columns) as progress:
            crawler = Crawler(session, progress)
            await crawler.crawl("/page/0")
    seconds = time.perf_counter() - begin
    await runner.cleanup()

    counts, requests = crawler.counts, site.requests
    total = sum(requests[kind] for kind in ("page", "author", "image"))
    print(f"rate limit: {total} requests in {seconds:.2f} s")
    print(f"retry: {requests['page']} requests for {len(crawler.seen)} pages,", end=" ")
    print("given up:", counts["pages given up"])
    authors = sum(counts[f"author {number}"] for number in range(AUTHORS))
    print(f"single flight: {authors} pages got their author by {requests['author']} requests")
    print(f"breaker: {counts['image failed']} images failed,", end=" ")
    print(f"{counts['image left alone']} were not asked for, it is {crawler.breaker.state}")


if __name__ == "__main__":
    pyasync.run(main())
