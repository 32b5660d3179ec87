"""A small real web application on aiohttp: an order desk with a JSON API.

    python -m benchmarks.demo.app --loop pyasync

- GET /api/products, GET /api/products/{number}: JSON from memory;
- POST /api/orders: a JSON body is checked and put into an in-memory queue;
- a background task takes orders from the queue and keeps the books, and GET /api/books shows them;
- GET /page: a static body of 16 KiB.
It prints the port it listens on and runs until SIGTERM. Nothing in it knows which loop it is on.
"""

import argparse
import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from benchmarks.listen import BACKLOG, announce, tcp_listener
from benchmarks.loops import LOOPS, loop_factory

PAGE = ("<!doctype html><title>Orders</title>" + "<p>A static page. </p>" * 1000)[:16384].encode()


@dataclass
class Desk:
    """The application's state: products, orders waiting in the queue, and the books."""

    products: dict[int, dict[str, Any]]
    orders: asyncio.Queue[tuple[int, int]] = field(default_factory=asyncio.Queue)
    accepted: int = 0
    booked: int = 0
    sold: dict[int, int] = field(default_factory=dict)


DESK = web.AppKey("desk", Desk)


def make_desk() -> Desk:
    """A desk with twenty products and empty books."""
    return Desk(
        {
            number: {"number": number, "name": f"product {number}", "price": 100 + 7 * number}
            for number in range(1, 21)
        }
    )


async def list_products(request: web.Request) -> web.Response:
    return web.json_response(list(request.app[DESK].products.values()))


async def show_product(request: web.Request) -> web.Response:
    product = request.app[DESK].products.get(int(request.match_info["number"]))
    if product is None:
        raise web.HTTPNotFound(text="no such product")
    return web.json_response(product)


async def place_order(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    try:
        order = await request.json()
        number, count = int(order["product"]), int(order["count"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
        raise web.HTTPBadRequest(text=f"not an order: {exc!r}") from exc
    if number not in desk.products or count < 1:
        raise web.HTTPBadRequest(text="no such product, or a count under 1")
    desk.accepted += 1
    await desk.orders.put((number, count))
    return web.json_response({"order": desk.accepted}, status=201)


async def show_books(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    return web.json_response(
        {"accepted": desk.accepted, "booked": desk.booked, "sold": sum(desk.sold.values())}
    )


async def show_page(request: web.Request) -> web.Response:
    return web.Response(body=PAGE, content_type="text/html")


async def keep_books(desk: Desk) -> None:
    """The background task: books every order that arrives in the queue."""
    while True:
        number, count = await desk.orders.get()
        desk.sold[number] = desk.sold.get(number, 0) + count
        desk.booked += 1


async def run_bookkeeper(app: web.Application) -> AsyncIterator[None]:
    """Runs the background task for as long as the application runs."""
    task = asyncio.create_task(keep_books(app[DESK]))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def make_app() -> web.Application:
    """The application, ready to be run on any loop."""
    app = web.Application()
    app[DESK] = make_desk()
    app.cleanup_ctx.append(run_bookkeeper)
    app.add_routes(
        [
            web.get("/api/products", list_products),
            web.get(r"/api/products/{number:\d+}", show_product),
            web.post("/api/orders", place_order),
            web.get("/api/books", show_books),
            web.get("/page", show_page),
        ]
    )
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    options = parser.parse_args()
    listener = tcp_listener()
    announce(listener.getsockname()[1])
    web.run_app(
        make_app(),
        sock=listener,
        backlog=BACKLOG,
        access_log=None,
        print=lambda *_: None,
        loop=loop_factory(options.loop)(),
    )


if __name__ == "__main__":
    main()
