"""The demonstration that `make demo` runs, in under a minute.

    python -m benchmarks.demo [--loops asyncio pyasync] [--picture docs/demo.png]

A real aiohttp application (app.py) serves on one core, wrk loads it from another; the two loops
take turns. Then the costs of tasks and scheduling are measured, again in turns. Everything that is
printed and drawn was measured in this run. Ends with status 1 if any request failed or an order was
lost.
"""

import argparse
import json
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.demo.app import PAGE
from benchmarks.demo.picture import draw
from benchmarks.loops import LOOPS, require_loops
from benchmarks.processes import Server, python_module
from benchmarks.report import console, print_header
from benchmarks.task_rows import ROWS
from benchmarks.tasks import Rounds, measure_rounds, print_costs, speed_ratio
from benchmarks.wrk import (
    HttpFigures,
    HttpRounds,
    check_wrk,
    measure,
    per_cpu_ratio,
    print_http,
    requests_ratio,
)

CONNECTIONS = 50
TASK_SWITCH = "task_switch"
REQUESTS_TARGET = 1.3  # times asyncio's requests/s
SWITCH_TARGET = 4.0  # times asyncio's task switches/s
MIX = Path(__file__).with_name("requests.lua")


def get(url: str) -> bytes:
    """The body of a GET request, never through a proxy."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=10) as answer:
        body: bytes = answer.read()
    return body


def check_application(url: str) -> None:
    """Exits with a message unless the application answers correctly."""
    product = json.loads(get(f"{url}/api/products/3"))
    if product["number"] != 3 or get(f"{url}/page") != PAGE:
        raise SystemExit("the application does not answer as it should")


def check_books(url: str) -> None:
    """Exits with a message unless every accepted order went through the queue to the books."""
    deadline = time.monotonic() + 5
    while True:
        books: dict[str, Any] = json.loads(get(f"{url}/api/books"))
        if books["booked"] == books["accepted"] > 0:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"orders were lost: {books}")


def serve_and_load(loop: str, seconds: int) -> HttpFigures:
    """One turn: the application on one loop, in a fresh process, under load."""
    with Server(python_module("benchmarks.demo.app", "--loop", loop)) as server:
        url = f"http://127.0.0.1:{server.address}"
        check_application(url)
        figures = measure(server, url, seconds, CONNECTIONS, MIX.read_text())
        check_books(url)
    return figures


def verdicts(http: HttpRounds, tasks: Rounds, loops: list[str]) -> list[str]:
    """The ratios that matter, each with its target and whether it is reached."""
    reference, loop = loops
    switches = speed_ratio(tasks, loop, reference, TASK_SWITCH)
    lines = []
    for what, ratio, target in (
        ("aiohttp requests/s", requests_ratio(http, loop, reference), REQUESTS_TARGET),
        ("aiohttp requests per CPU second", per_cpu_ratio(http, loop, reference), REQUESTS_TARGET),
        ("task switches per CPU second", switches, SWITCH_TARGET),
    ):
        reached = "reached" if ratio.median >= target else "NOT reached"
        lines.append(
            f"{what}: {loop} at {ratio.as_ratio()} times {reference}; target {target:g}: {reached}"
        )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__)
    parser.add_argument(
        "--loops",
        nargs=2,
        choices=LOOPS,
        default=["asyncio", "pyasync"],
        metavar=("REFERENCE", "LOOP"),
        help="the two loops to compare (default: asyncio pyasync)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each loop (3)")
    parser.add_argument("--seconds", type=int, default=3, help="measured per turn of wrk (3)")
    parser.add_argument("--picture", type=Path, default=Path("docs/demo.png"), metavar="FILE")
    options = parser.parse_args()
    loops: list[str] = options.loops

    require_loops(loops)
    check_wrk()
    started = time.monotonic()
    print_header("pyasync demonstration", loops, ("aiohttp",))
    with console.status("aiohttp under load, the loops in turns"):
        http = [
            {loop: serve_and_load(loop, options.seconds) for loop in loops}
            for _ in range(options.rounds)
        ]
    title = f"aiohttp application, {CONNECTIONS} connections, median of {len(http)} rounds"
    print_http(title, http, loops)
    with console.status("tasks and scheduling"):
        tasks = measure_rounds(loops, list(ROWS), options.rounds, repeats=1)
    print_costs(tasks, loops, list(ROWS))
    lines = verdicts(http, tasks, loops)
    draw(options.picture, http, tasks, loops, lines)
    console.print("\n".join(lines), style="bold")
    console.print(f"picture: {options.picture}; took {time.monotonic() - started:.0f} s")
    return 1 if any(figures.errors for turn in http for figures in turn.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
