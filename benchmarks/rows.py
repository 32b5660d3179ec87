"""The rows of `make bench`: what is measured, how, in which unit, and what pyasync wants of it.

One table, `BENCH_ROWS`, in the order in which it is printed. A row's `target` is the least ratio of
pyasync to its reference that was set as the goal: 1.2 is "1.2 times as fast as the best other loop"
(or, for `against=C_SERVER`, as the C libuv server). No row may be below 1.0 against any loop. Each
kind of row is measured by a function of turns.py that `measure` names with its arguments.

CPU time is measured while all loops share a core (`together`), as the kernel can tell it apart:
what slows the machine for a moment slows all of them. All of a row's small servers run at once. Of
large ones, and of those that handle large messages, pyasync's and one other at a time do, as more
would drive each other out of the core's caches.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from benchmarks.hand_rows import BY_HAND, HAND_ROWS
from benchmarks.processes import C_SERVER
from benchmarks.turns import (
    Figures,
    Session,
    echo_row,
    http_row,
    in_process_row,
    start_up_row,
)
from benchmarks.worker import IN_PROCESS_ROWS

TASKS, NETWORK, APPLICATIONS, REST = GROUPS = (
    "Tasks and scheduling",
    "Network",
    "Applications",
    "Connections, names, threads, processes, start-up",
)
BEST = "best peer"
# The least geometric means that were set as the goal, by group and loop.
MEAN_TARGETS = {TASKS: {BEST: 1.6, "uvloop": 2.5}, NETWORK: {BEST: 1.15}}
NANOSECONDS, CPU, MILLISECONDS = "ns", "us CPU", "ms CPU"
# Bytes of a message; several servers that handle larger ones need more cache than there is.
LARGE = 64 * 1024
# By the clock on the wall, which also counts who else runs, the best of so many times more.
WALL_CLOCK_TIMES = 8
# What of a row runs at once, on one core: all servers, two of them, all workers, or all
# interpreters that start.
ALL, PAIRS, WORKERS, STARTS = "all", "pairs", "workers", "starts"


@dataclass(frozen=True)
class BenchRow:
    """One row: `measure(session, loop)` gives {"value": figure in `unit`, ...}."""

    key: str
    title: str
    group: str
    unit: str
    measure: Callable[[Session, str], Figures] = field(repr=False)
    target: float = 1.0
    against: str = BEST
    servers: tuple[str, ...] = ()  # limits that are measured beside the loops
    not_a_peer: tuple[str, ...] = ()  # loops that are shown but not compared with
    together: str | None = None  # one of those above; None if loops are measured one by one


def task(key: str, target: float = 1.0) -> BenchRow:
    """A task or scheduling row."""
    title = IN_PROCESS_ROWS[key].title
    measure = partial(in_process_row, key, 1)
    servers = (BY_HAND,) if key in HAND_ROWS else ()
    return BenchRow(
        key, title, TASKS, NANOSECONDS, measure, target, servers=servers, together=WORKERS
    )


def rest(key: str, together: str | None = WORKERS) -> BenchRow:
    """A row of cold_rows.py."""
    title, times = IN_PROCESS_ROWS[key].title, 1 if together else WALL_CLOCK_TIMES
    measure = partial(in_process_row, key, times)
    return BenchRow(key, title, REST, NANOSECONDS, measure, together=together)


def echo(
    key: str,
    title: str,
    style: str,
    size: int,
    connections: int,
    target: float = 1.0,
    against: str = BEST,
    servers: tuple[str, ...] = (),
    group: str = NETWORK,
    unix: bool = False,
) -> BenchRow:
    """A row of the load generator: server CPU per message."""
    large = group == APPLICATIONS or size > LARGE
    measure = partial(echo_row, style, size, connections, unix)
    return BenchRow(
        key,
        title,
        group,
        CPU,
        measure,
        target,
        against,
        servers,
        together=PAIRS if large else ALL,
    )


def http(key: str, title: str, framework: str, path: str, target: float = 1.0) -> BenchRow:
    """A row of wrk: server CPU per request."""
    measure = partial(http_row, framework, path)
    return BenchRow(key, title, APPLICATIONS, CPU, measure, target, together=PAIRS)


def start_up(key: str, title: str, run: bool) -> BenchRow:
    """A row of fresh interpreters. asyncio's is shown, as every loop imports it."""
    measure = partial(start_up_row, run)
    return BenchRow(
        key, title, REST, MILLISECONDS, measure, not_a_peer=("asyncio",), together=STARTS
    )


BENCH_ROWS = {
    row.key: row
    for row in (
        task("call_soon_chain", 1.2),
        task("call_soon_batch", 1.2),
        task("timer_cancel", 1.2),
        task("call_soon_threadsafe", 1.1),
        task("sleep_zero", 1.7),
        task("sleep_zero_many", 1.5),
        task("task_switch"),
        task("create_and_await", 2.2),
        task("future_resolved", 2.2),
        task("gather_hundred", 1.3),
        task("task_group", 1.3),
        task("queue_ping_pong", 1.3),
        task("timeout_block", 1.3),
        task("sleep_one_ms", 1.3),
        echo(
            "tcp_1k",
            "TCP echo 1 KiB x 50",
            "protocol",
            1024,
            50,
            against=C_SERVER,
            servers=(C_SERVER,),
        ),
        echo(
            "tcp_100k",
            "TCP echo 100 KiB x 10",
            "protocol",
            102400,
            10,
            1.15,
            servers=(C_SERVER,),
        ),
        echo("buffered_1k", "buffered protocol 1 KiB x 50", "buffered", 1024, 50, 1.05),
        echo("streams_1k", "streams 1 KiB x 50", "streams", 1024, 50, 1.25),
        echo("streams_100k", "streams 100 KiB x 10", "streams", 102400, 10, 1.2),
        echo("sock_1k", "sock_recv/sock_sendall 1 KiB x 50", "sock", 1024, 50, 1.2),
        echo("unix_1k", "unix echo 1 KiB x 50", "protocol", 1024, 50, 1.05, unix=True),
        echo("udp_1k", "UDP echo 1 KiB x 50", "udp", 1024, 50, 1.05),
        echo("tls_1k", "TLS echo 1 KiB x 50", "tls", 1024, 50, 1.3),
        echo("tls_100k", "TLS echo 100 KiB x 10", "tls", 102400, 10, 1.3),
        echo("tls_streams_1k", "TLS streams 1 KiB x 50", "tls-streams", 1024, 50, 1.4),
        http("httptools", "httptools alone, JSON", "httptools", "/"),
        http("aiohttp_small", "aiohttp, small text", "aiohttp", "/small", 1.15),
        http("aiohttp_json", "aiohttp, JSON", "aiohttp", "/", 1.15),
        http("aiohttp_large", "aiohttp, 64 KiB", "aiohttp", "/large", 1.15),
        http("aiohttp_static", "aiohttp, static file 64 KiB", "aiohttp", "/static", 1.15),
        http("uvicorn", "uvicorn, JSON", "uvicorn", "/", 1.15),
        echo(
            "websocket_1k",
            "websockets echo 1 KiB x 50",
            "websocket",
            1024,
            50,
            group=APPLICATIONS,
        ),
        echo("accept", "accept and close, x 50", "accept", 1024, 50, group=REST),
        rest("connect"),
        echo("tls_handshake", "TLS handshake, x 50", "tls-accept", 1, 50, group=REST),
        rest("getaddrinfo_literal"),
        rest("executor_round_trip"),
        rest("spawn", together=None),
        start_up("import", "import of the loop's module", run=False),
        start_up("run_noop", "import and run(noop())", run=True),
    )
}
