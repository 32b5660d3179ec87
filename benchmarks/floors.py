"""Floors: the cost that no loop can avoid, for the rows whose target lies close to it or beyond.

    python -m benchmarks.floors [--rounds N] [--rows ROW ...] [--json FILE]

A floor is a sum of parts. One is what the row's own Python, or OpenSSL, costs by itself, measured
without any socket (floor_parts.py), once for the few rounds that a row's servers live. The other is
what carrying the bytes costs: the server CPU of a C server of bare system calls under the same
load, or of pyasync's own plain echo where that is less and not the row itself. Beside the sum
stands what does both at once: a C server that keeps busy for as long as the Python, or has OpenSSL
on its sockets; or a C loop that calls the row's protocol or coroutine and does nothing else
(bare_loop.py). The floor of an application, and of large messages over TLS, is what the row costs
on pyasync less the share of samples (samples.py) that find it in pyasync's own code or in libuv: a
loop that costs nothing. Rows of tasks carry nothing: their other part is what tasks cost on the
quicker of pyasync and the best peer. Threads, processes and start-up are compared with the same
done without any loop.

In each round the parts of a row, pyasync's row and that of its best peer (as the results of `make
bench` name it) are measured, all servers at once; ratios are taken within the round. Where there
are several ways to do a part, each is measured in every round, and floor_results.py chooses among
them. Results of all rows go to results/floors-X.Y.json, from which `python -m benchmarks.render`
makes a part of the documentation.
"""

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from benchmarks.bare_loop import build_bare_loop
from benchmarks.certificate import certificate_folder
from benchmarks.floor_results import (
    FloorResult,
    Parts,
    Turn,
    Ways,
    floor_cells,
    floor_columns,
    save_floors,
)
from benchmarks.http import http_server_command
from benchmarks.load import echo_server_command
from benchmarks.loops import LOOPS, why_unusable
from benchmarks.processes import (
    BARE_LOOP,
    BARE_SERVER,
    C_PROGRAMS,
    Failed,
    build_c_programs,
    child_figures,
)
from benchmarks.report import table
from benchmarks.results import OURS, Document, best_peer, circumstances, load, result_file
from benchmarks.rows import BENCH_ROWS, BEST
from benchmarks.samples import code_share
from benchmarks.task_rows import GATHERED, GROUPED
from benchmarks.turns import FULL, Session, start_up_row
from benchmarks.wrk import check_wrk

PART_LIMIT = 60.0  # s for one part
console = Console(width=280, highlight=False)  # the table rather wraps than loses a figure
CARRYING, THE_REST, WHOLE = "carrying", "all but the loop", "the whole row"
LOOP_FILES = ("_core.", "libuv.")  # pyasync's own code, and what it is built on
SAMPLED = 2.0  # s
LEAST_WORK = 1.0  # us of the library; less cannot be told from nothing
ALL_WORK = "all the work"  # of the library: the way that stands in for the whole
EFFORT = replace(FULL, load_seconds=0.4, together=3)
LARGE = 64 * 1024  # bytes of a message from which the size of the buffer matters
BUFFERS = (128 * 1024, 256 * 1024)  # bytes; smaller ones cost more, they were tried


T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """A floor of one round: its parts; the C servers that stand in for the whole, CPU us; or the
    share of the loop in what pyasync's row costs, 0..1, which leaves the only part."""

    parts: Parts = field(default_factory=dict)
    stand_in: Ways = field(default_factory=dict)
    loop_share: float | None = None


@dataclass
class FloorSession(Session):
    """What the floors of a row share besides: the parts that were measured, and the loop's share in
    the servers' CPU time."""

    parts: dict[tuple[str, ...], dict[str, float]] = field(default_factory=dict)
    loop_shares: dict[tuple[str, ...], float] = field(default_factory=dict)

    def run(self, turns: dict[str, Callable[[], T]]) -> dict[str, T]:
        """What each of `turns` gives; they are called one after the other, or at once while servers
        share a core."""
        with ThreadPoolExecutor(len(turns) if self.shared else 1) as pool:
            running = {name: pool.submit(turn) for name, turn in turns.items()}
            return {name: turn.result() for name, turn in running.items()}

    def part(self, name: str, *options: str) -> dict[str, float]:
        """{"cost", "bytes"} of floor_parts.py in a fresh process on the servers' core, measured
        once; raises Failed if it fails."""
        key = (name, *options)
        if key not in self.parts:
            command = ("benchmarks.floor_parts", "--part", name, *options)
            self.parts[key] = child_figures(PART_LIMIT, *command)
        return self.parts[key]

    def loop_share(self, command: Sequence[str], load: Callable[[], object]) -> float:
        """Which share of the CPU time of pyasync's server with that command line is the loop's,
        sampled once while load() is called again and again, which starts it."""
        key = tuple(command)
        if key not in self.loop_shares:
            load()
            with ThreadPoolExecutor(1) as pool:
                sampling = pool.submit(code_share, self.servers[key].pid, SAMPLED, LOOP_FILES)
                while not sampling.done():
                    load()
            self.loop_shares[key] = sampling.result()
        return self.loop_shares[key]

    def end_row(self) -> None:
        """Ends the servers and forgets what was measured of them, which belongs to one row."""
        self.parts.clear()
        self.loop_shares.clear()
        super().end_row()


Measure = Callable[[FloorSession, str | None], Measured]  # of the best peer


@dataclass(frozen=True)
class Floor:
    """What a row's floor is made of: `text` says it, `measure(session, peer)` measures it."""

    key: str
    text: str
    measure: Measure = field(repr=False)


def only(cost: float) -> Ways:
    """The cost of a part that is done in one way."""
    return {"": cost}


def sum_of(parts: Parts) -> float:
    """The cost of parts that are done in one way each."""
    return sum(cost for ways in parts.values() for cost in ways.values())


def carried(
    session: FloorSession, cost: Callable[[float], float], library: float
) -> tuple[Ways, Ways]:
    """CPU us of carrying a message, and those of a C server that works as long as the library; no
    such server if that is too short to be told from nothing.

    `cost(work)` is the CPU us per message of a C server that keeps busy for `work` us on each. What
    is left after the work depends on how much there is: a quick server waits for the load and is
    woken often, a slow one finds the load waiting and has to wake it. So there are several ways.
    """
    if library < LEAST_WORK:
        works = {"no work": 0.0, "little work": LEAST_WORK / 2}
    else:
        works = {"no work": 0.0, "a third of the work": library / 3, ALL_WORK: library}
    costs = session.run({way: partial(cost, work) for way, work in works.items()})
    carrying = {way: costs[way] - work for way, work in works.items()}
    return carrying, {way: used for way, used in costs.items() if way == ALL_WORK}


def floor_without_loop(
    key: str, command: Sequence[str], stand_in: Callable[[FloorSession], float] | None = None
) -> Measure:
    """The floor of a row whose server has that command line: what it costs on pyasync, without
    pyasync. `stand_in(session)` measures what stands in for the whole."""

    def run(session: FloorSession, peer: str | None) -> Measured:
        load = partial(BENCH_ROWS[key].measure, session, OURS)
        share = session.loop_share(command, load)
        return Measured(stand_in=only(stand_in(session)) if stand_in else {}, loop_share=share)

    return run


def http_floor(key: str) -> Floor:
    """The same of a row of wrk, which is called after its framework."""
    command = http_server_command(key.partition("_")[0], OURS)
    return Floor(key, WITHOUT_LOOP, floor_without_loop(key, command))


@dataclass(frozen=True)
class Echo:
    """The load of an echo row, and how it is carried."""

    size: int
    connections: int
    style: str = "protocol"
    unix: bool = False

    def turn(
        self, session: FloorSession, name: str, size: int, arguments: Sequence[str] = ()
    ) -> float:
        """CPU us per message of one server that echoes messages of `size` bytes."""
        turn = session.echo(name, self.style, size, self.connections, self.unix, arguments)
        cost: float = turn["server_cpu_us"]
        return cost


def echoed_by_c(session: FloorSession, load: Echo, wire: int, library: float) -> tuple[Ways, Ways]:
    """What carried() says of the bare server that echoes messages of `wire` bytes, by the size of
    its buffer where that matters."""
    carrying, stand_in = Ways(), Ways()
    for size in BUFFERS if wire > LARGE else BUFFERS[-1:]:

        def cost(work: float, size: int = size) -> float:
            options = [f"--work={work * 1000}", f"--message={wire}", f"--buffer={size}"]
            return load.turn(session, BARE_SERVER, wire, options)

        found = carried(session, cost, library)
        for all_of, ways in zip((carrying, stand_in), found, strict=True):
            all_of |= {f"{way}, buffer of {size}": used for way, used in ways.items()}
    return carrying, stand_in


def echo_floor(load: Echo, *names: str, own: bool = True, bare_loop: str | None = None) -> Measure:
    """The floor of an echo row in which the parts `names` come on top of the plain echo, which is
    pyasync's too with `own`. The row's stand-in is the bare loop with the style that is given."""

    def run(session: FloorSession, peer: str | None) -> Measured:
        parts: Parts = {}
        wire = load.size
        for name in names:
            options = ["--size", str(load.size)]
            if name == "TLS":
                options += ["--certificate", certificate_folder().name]
            found = session.part(name.lower(), *options)
            parts[name] = only(found["cost"])
            wire = max(wire, int(found["bytes"]))
        turns: dict[str, Callable[[], Any]] = {
            CARRYING: partial(echoed_by_c, session, load, wire, sum_of(parts))
        }
        if own:
            turns[OURS] = partial(load.turn, session, OURS, wire)
        if names == ("TLS",):  # then the server in C need not spin: it does the work
            over_tls = replace(load, style="tls")
            turns[WHOLE] = partial(over_tls.turn, session, BARE_SERVER, load.size)
        if bare_loop is not None:
            calling = replace(load, style=bare_loop)
            turns[WHOLE] = partial(calling.turn, session, BARE_LOOP, load.size)
        made = session.run(turns)
        carrying, stand_in = made[CARRYING]
        if own:
            carrying[OURS] = made[OURS]
        if WHOLE in made:
            stand_in = only(made[WHOLE])
        return Measured({**parts, CARRYING: carrying}, stand_in)

    return run


def handshake_floor(session: FloorSession, peer: str | None) -> Measured:
    """The floor of TLS handshakes: OpenSSL's work; connections that are accepted and closed. The
    stand-in is a C server that does both, with OpenSSL on its sockets."""
    load, both = Echo(1024, 50, "accept"), Echo(1, 50, "tls-accept")
    options = ["--certificate", certificate_folder().name]
    parts = {"TLS": only(session.part("handshake", *options)["cost"])}
    turns: dict[str, Callable[[], float]] = {
        name: partial(load.turn, session, name, load.size) for name in (BARE_SERVER, OURS)
    }
    turns[WHOLE] = partial(both.turn, session, BARE_SERVER, both.size)
    costs = session.run(turns)
    stand_in = only(costs.pop(WHOLE))
    return Measured({**parts, CARRYING: costs}, stand_in)


def task_floor(name: str, tasks: int = 0) -> Measure:
    """The floor of a row of tasks: the part `name`, and bare tasks if the row creates `tasks`."""

    def run(session: FloorSession, peer: str | None) -> Measured:
        parts = {name: only(session.part(name)["cost"])}
        if tasks:
            loops = [OURS, *([peer] if peer else [])]
            size = str(tasks)
            found = {loop: session.part("tasks", "--loop", loop, "--size", size) for loop in loops}
            parts["tasks"] = {loop: figures["cost"] for loop, figures in found.items()}
        return Measured(parts)

    return run


def least_floor(name: str, *ways: str) -> Measure:
    """The floor of a row that is done without a loop, in one of `ways`."""

    def run(session: FloorSession, peer: str | None) -> Measured:
        return Measured({name: {way: session.part(way)["cost"] for way in ways}})

    return run


def start_up_floor(session: FloorSession, peer: str | None) -> Measured:
    """The floor of a row of start-up: the interpreter, and asyncio without any other loop."""
    return Measured({"asyncio": only(start_up_row(False, session, "asyncio")["value"])})


WITHOUT_LOOP = (
    "the row on pyasync without the share of its CPU time that samples find in pyasync's own code "
    "and libuv: what a loop would leave that costs nothing and calls the same"
)
STREAM_TEXT = "the streams' coroutine sent into by hand, fed for nothing"
TLS_TEXT = "OpenSSL's work for the message through Python's ssl module, over memory"
TLS_IN_C = "the stand-in is a C server with OpenSSL on its sockets"
PLAIN_TEXT = "a plain echo of the bytes on the wire, in C or in pyasync, whichever costs less"
BARE_TEXT = "a C server of bare system calls that echoes the same"
PROTOCOL_TEXT = f"the row's protocol called with a message, writing for nothing; {BARE_TEXT}"
BARE_LOOP_TEXT = "the stand-in is a C loop of bare system calls that calls the row's protocol"
BARE_STREAM_TEXT = (
    "the stand-in is a C loop of bare system calls that puts the message into the reader's buffer "
    "and sends into the coroutine"
)
ACCEPT_TEXT = (
    "the row's protocol made, called when the connection is made and lost, closing for nothing; a "
    "C server of bare system calls that accepts and closes"
)
TASKS_TEXT = (
    "Python code on a loop and tasks that do nothing; tasks that nothing awaits, created and run "
    "on pyasync or the best peer, whichever costs less"
)
START_UP_TEXT = "the interpreter started with asyncio imported, which every loop imports"
SMALL, LONG = Echo(1024, 50), Echo(102400, 10)

FLOORS = {
    floor.key: floor
    for floor in (
        Floor(
            "sleep_zero",
            "the coroutine advanced in C, with no loop and no task",
            task_floor("switching_one"),
        ),
        Floor(
            "sleep_zero_many",
            "the coroutines advanced in turn by zip(), with no loop and no tasks",
            task_floor("switching"),
        ),
        Floor("gather_hundred", f"gather()'s own {TASKS_TEXT}", task_floor("gather", GATHERED)),
        Floor("task_group", f"TaskGroup's own {TASKS_TEXT}", task_floor("task_group", GROUPED)),
        Floor(
            "tcp_1k",
            f"{PROTOCOL_TEXT}; {BARE_LOOP_TEXT}",
            echo_floor(SMALL, "protocol", own=False, bare_loop="protocol"),
        ),
        Floor("tcp_100k", PROTOCOL_TEXT, echo_floor(LONG, "protocol", own=False)),
        Floor(
            "buffered_1k",
            f"{PROTOCOL_TEXT}; {BARE_LOOP_TEXT}",
            echo_floor(SMALL, "buffered", own=False, bare_loop="buffered"),
        ),
        Floor(
            "streams_1k",
            f"{STREAM_TEXT}; {PLAIN_TEXT}; {BARE_STREAM_TEXT}",
            echo_floor(SMALL, "streams", bare_loop="streams"),
        ),
        Floor("streams_100k", f"{STREAM_TEXT}; {PLAIN_TEXT}", echo_floor(LONG, "streams")),
        Floor(
            "sock_1k",
            f"the coroutine sent into by hand, its socket operations for nothing; {PLAIN_TEXT}",
            echo_floor(SMALL, "sock"),
        ),
        Floor(
            "unix_1k",
            f"{PROTOCOL_TEXT}; {BARE_LOOP_TEXT}",
            echo_floor(Echo(1024, 50, unix=True), "protocol", own=False, bare_loop="protocol"),
        ),
        Floor(
            "udp_1k",
            PROTOCOL_TEXT,
            echo_floor(Echo(1024, 50, style="udp"), "datagrams", own=False),
        ),
        Floor("tls_1k", f"{TLS_TEXT}; {PLAIN_TEXT}; {TLS_IN_C}", echo_floor(SMALL, "TLS")),
        Floor(
            "tls_100k",
            f"{WITHOUT_LOOP}; {TLS_IN_C}",
            floor_without_loop(
                "tls_100k",
                echo_server_command(OURS, "tls", None),
                lambda session: replace(LONG, style="tls").turn(session, BARE_SERVER, LONG.size),
            ),
        ),
        Floor(
            "tls_streams_1k",
            f"{TLS_TEXT}; {STREAM_TEXT}; {PLAIN_TEXT}",
            echo_floor(SMALL, "TLS", "streams"),
        ),
        http_floor("httptools"),
        http_floor("aiohttp_small"),
        http_floor("aiohttp_json"),
        http_floor("aiohttp_large"),
        http_floor("aiohttp_static"),
        http_floor("uvicorn"),
        Floor(
            "websocket_1k",
            WITHOUT_LOOP,
            floor_without_loop("websocket_1k", echo_server_command(OURS, "websocket", None)),
        ),
        Floor("accept", ACCEPT_TEXT, echo_floor(Echo(1024, 50, "accept"), "accept", own=False)),
        Floor(
            "tls_handshake",
            "OpenSSL's work for the handshake and the notice of closing through Python's ssl "
            "module, over memory; a TCP connection accepted and closed, in C or in pyasync, "
            f"whichever costs less; {TLS_IN_C}",
            handshake_floor,
        ),
        Floor(
            "executor_round_trip",
            "ThreadPoolExecutor.submit(), and the waiting thread woken by an eventfd and epoll "
            "when the call has ended",
            least_floor("round trip", "round_trip"),
        ),
        Floor(
            "spawn",
            "the child started by posix_spawn(3) or subprocess.Popen, whichever takes less, and "
            "waited for by waitpid(2); nothing else is done meanwhile",
            least_floor("child", "posix_spawn", "popen"),
        ),
        Floor("import", START_UP_TEXT, start_up_floor),
        Floor("run_noop", START_UP_TEXT, start_up_floor),
    )
}


def cheapest_peer(bench: Document | None, key: str) -> str | None:
    """The best peer in the results of `make bench`, of those that are installed here, and of the
    server that the row is compared with; None without results."""
    if bench is None or key not in bench.results:
        return None
    left_out = {OURS, *BENCH_ROWS[key].not_a_peer}
    others = [loop for loop in LOOPS if loop not in left_out and why_unusable(loop) is None]
    if BENCH_ROWS[key].against != BEST:
        others.append(BENCH_ROWS[key].against)
    return best_peer(BENCH_ROWS[key], bench.results[key], others)


def bench_results() -> Document | None:
    """The results of `make bench` on this Python version: the full run, or else the quick one."""
    paths = (result_file("bench", quick) for quick in (False, True))
    return next((load(path) for path in paths if path.exists()), None)


def measure_round(session: FloorSession, key: str, peer: str | None) -> Turn:
    """One round of one row: pyasync, the parts of the floor, the best peer. Raises Failed if one of
    them does."""
    row = BENCH_ROWS[key]
    names = [OURS, *([peer] if peer else [])]
    turns: dict[str, Callable[[], Any]] = {
        "floor": partial(FLOORS[key].measure, session, peer),
        **{name: partial(row.measure, session, name) for name in names},
    }
    made = session.run(turns)
    floor = made.pop("floor")
    loops = {name: figures["value"] for name, figures in made.items()}
    parts = floor.parts
    if floor.loop_share is not None:
        parts = {THE_REST: only(loops[OURS] * (1 - floor.loop_share))}
    return Turn(parts=parts, loops=loops, stand_in=floor.stand_in)


def measure_set(
    session: FloorSession, key: str, peer: str | None, rounds: int, result: FloorResult
) -> None:
    """A few rounds of one row on the same servers; if they share a core, after one in which they
    start and serve alone. Ends, and the reason is kept, when something fails."""
    session.shared = None
    try:
        if BENCH_ROWS[key].together:
            measure_round(session, key, peer)
            session.shared = session.effort.shared_seconds
        for _ in range(rounds):
            result.rounds.append(measure_round(session, key, peer))
    except Failed as exc:
        result.failed = str(exc)
        console.print(f"{BENCH_ROWS[key].title} failed: {exc}", style="yellow")
    session.end_row()


def print_floors(results: dict[str, FloorResult]) -> None:
    """Prints the table."""
    made = table("Floors", *floor_columns())
    for key, result in results.items():
        if result.rounds:
            made.add_row(*floor_cells(key, result))
    console.print(made)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floors", description=__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="of every row (12)")
    parser.add_argument("--rows", nargs="+", choices=FLOORS, metavar="ROW", default=list(FLOORS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    options = parser.parse_args()
    check_wrk()
    build_c_programs()
    build_bare_loop()
    bench = bench_results()
    peers = {key: cheapest_peer(bench, key) for key in options.rows}
    complete = len(options.rows) == len(FLOORS)
    kept = result_file("floors", False) if complete else C_PROGRAMS.parent / "floors-partial.json"
    path = options.json or kept
    about = circumstances([OURS, *sorted({peer for peer in peers.values() if peer in LOOPS})])
    results = {key: FloorResult(FLOORS[key].text) for key in options.rows}
    session = FloorSession(EFFORT)
    try:
        for first in range(0, options.rounds, EFFORT.together):
            rounds = min(EFFORT.together, options.rounds - first)
            for key, result in results.items():
                measure_set(session, key, peers[key], rounds, result)
            session.end_rows()
            save_floors(path, about, results)
            console.print(f"round {first + rounds} of {options.rounds} ended", style="dim")
    finally:
        session.close()
    print_floors(results)
    console.print(f"results: {path}", style="dim")
    return 1 if any(result.failed for result in results.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
