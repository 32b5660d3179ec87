"""Floors: the cost that no loop can avoid, for the rows whose target lies close to it or beyond.

    python -m benchmarks.floors [--rounds N] [--rows ROW ...] [--json FILE]

A floor is a sum of parts. One is what the library costs by itself, measured without any socket
(floor_parts.py). The other is what carrying the bytes costs: the server CPU of the C libuv server
under the same load, or of pyasync's own plain echo where that is less. Beside the sum stands a C
server that does both at once: it keeps busy for as long as the library, and carries. In each round
the parts of a row, pyasync's row and that of its best peer (as the results of `make bench` name it)
are measured one after the other; ratios are taken within the round. Results of all rows go to
results/floors-X.Y.json, from which `python -m benchmarks.render` makes a part of the documentation.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from benchmarks.certificate import certificate_folder
from benchmarks.floor_parts import http_request
from benchmarks.floor_results import (
    STAND_IN,
    FloorResult,
    Parts,
    floor_cells,
    floor_columns,
    save_floors,
)
from benchmarks.load import echo_server_command, echo_turn
from benchmarks.loops import LOOPS, why_unusable
from benchmarks.processes import (
    C_PROGRAMS,
    C_SERVER,
    Failed,
    Server,
    build_c_programs,
    child_figures,
)
from benchmarks.report import table
from benchmarks.results import OURS, Document, circumstances, load, result_file
from benchmarks.rows import BENCH_ROWS
from benchmarks.turns import FULL, HTTP_CONNECTIONS, Effort, Session
from benchmarks.wrk import check_wrk, measure

PART_LIMIT = 60.0  # s for one part
console = Console(width=190, highlight=False)  # the table rather wraps than loses a figure
Measured = tuple[Parts, float]  # the parts, and CPU us of the C server that stands in
LIBRARY, TLS, STREAMS, CARRYING = "library", "TLS", "streams", "carrying"


@dataclass(frozen=True)
class Floor:
    """What a row's floor is made of: `text` says it, `measure(effort)` measures it."""

    key: str
    text: str
    measure: Callable[[Effort], Measured] = field(repr=False)


def part(name: str, *options: str) -> dict[str, float]:
    """Runs floor_parts.py in a fresh process on the servers' core; raises Failed if it fails."""
    return child_figures(PART_LIMIT, "benchmarks.floor_parts", "--part", name, *options)


def carried(cost: Callable[[float], float], library: float) -> tuple[float, float]:
    """CPU us of carrying a message, and those of a C server that works as long as the library.

    `cost(work)` is the CPU us per message of a C server that keeps busy for `work` us on each. What
    is left after the work depends on how much there is: a quick server waits for the load and is
    woken often, a slow one finds the load waiting and has to wake it. The least counts.
    """
    works = (0.0, library / 3, library)
    costs = [cost(work) for work in works]
    return min(used - work for used, work in zip(costs, works, strict=True)), costs[-1]


def http_floor(framework: str, path: str) -> Callable[[Effort], Measured]:
    """The floor of an HTTP row: the application in memory; a C server that sends its answer."""

    def run(effort: Effort) -> Measured:
        with tempfile.NamedTemporaryFile() as answer:
            library = part(framework, "--path", path, "--answer", answer.name)["cpu_us"]

            def cost(work: float) -> float:
                command = echo_server_command(C_SERVER, "protocol", None)
                request = str(len(http_request(path)))
                with Server([*command, str(work * 1000), request, answer.name]) as server:
                    url = f"http://127.0.0.1:{server.address}{path}"
                    seconds, warm_up = effort.wrk_seconds, effort.wrk_warm_up
                    load = measure(server, url, seconds, HTTP_CONNECTIONS, warm_up=warm_up)
                if load.errors:
                    raise Failed(f"the C server's answers: {load.errors} not 2xx or broken")
                return load.cpu_us

            carrying, stand_in = carried(cost, library)
        return {LIBRARY: library, CARRYING: carrying}, stand_in

    return run


def plain_echo(
    effort: Effort, name: str, size: int, connections: int, arguments: Sequence[str] = ()
) -> float:
    """CPU us per plain TCP echo of one server."""
    turn = echo_turn(
        name,
        "protocol",
        connections,
        size,
        effort.load_seconds,
        effort.warm_up,
        arguments=arguments,
    )
    if any(turn["errors"].values()):
        raise Failed(f"plain echo of {name}: {turn['errors']}")
    return float(turn["server_cpu_us"])


def echo_floor(size: int, connections: int, *names: str) -> Callable[[Effort], Measured]:
    """The floor of an echo row in which the parts `names` come on top of the plain echo."""

    def run(effort: Effort) -> Measured:
        parts: Parts = {}
        wire = size
        for name in names:
            options = ["--size", str(size)]
            if name == TLS:
                options += ["--certificate", certificate_folder().name]
            found = part(name.lower(), *options)
            parts[name] = found["cpu_us"]
            wire = max(wire, int(found["bytes"]))

        def cost(work: float) -> float:
            return plain_echo(effort, C_SERVER, wire, connections, [str(work * 1000), str(wire)])

        carrying, stand_in = carried(cost, sum(parts.values()))
        carrying = min(carrying, plain_echo(effort, OURS, wire, connections))
        return {**parts, CARRYING: carrying}, stand_in

    return run


AIOHTTP = "aiohttp's protocol and the handler, driven in memory; a C server that sends that answer"
STREAM_TEXT = "the streams' coroutine sent into by hand, fed for nothing"
TLS_TEXT = "OpenSSL's work for the message through Python's ssl module, over memory"
PLAIN_TEXT = "a plain echo of the bytes on the wire, in C or in pyasync, whichever costs less"

FLOORS = {
    floor.key: floor
    for floor in (
        Floor("streams_1k", f"{STREAM_TEXT}; {PLAIN_TEXT}", echo_floor(1024, 50, STREAMS)),
        Floor("streams_100k", f"{STREAM_TEXT}; {PLAIN_TEXT}", echo_floor(102400, 10, STREAMS)),
        Floor("tls_1k", f"{TLS_TEXT}; {PLAIN_TEXT}", echo_floor(1024, 50, TLS)),
        Floor("tls_100k", f"{TLS_TEXT}; {PLAIN_TEXT}", echo_floor(102400, 10, TLS)),
        Floor(
            "tls_streams_1k",
            f"{TLS_TEXT}; {STREAM_TEXT}; {PLAIN_TEXT}",
            echo_floor(1024, 50, TLS, STREAMS),
        ),
        Floor("aiohttp_small", AIOHTTP, http_floor("aiohttp", "/small")),
        Floor("aiohttp_json", AIOHTTP, http_floor("aiohttp", "/")),
        Floor("aiohttp_large", AIOHTTP, http_floor("aiohttp", "/large")),
        Floor("uvicorn", AIOHTTP.replace("aiohttp", "uvicorn"), http_floor("uvicorn", "/")),
    )
}


def cheapest_peer(bench: Document | None, key: str) -> str | None:
    """The peer with the least median CPU per message in the results of `make bench`, of those that
    are installed here; None without results."""
    if bench is None or key not in bench.results:
        return None
    others = [loop for loop in LOOPS if loop != OURS and why_unusable(loop) is None]
    found = {loop: bench.results[key].spread(loop, "cpu_us") for loop in others}
    costs = {loop: spread.median for loop, spread in found.items() if spread is not None}
    return min(costs, key=lambda loop: costs[loop], default=None)


def bench_results() -> Document | None:
    """The results of `make bench` on this Python version: the full run, or else the quick one."""
    paths = (result_file("bench", quick) for quick in (False, True))
    return next((load(path) for path in paths if path.exists()), None)


def measure_round(session: Session, key: str, peer: str | None, result: FloorResult) -> None:
    """One round of one row: pyasync, the parts of the floor, the best peer. A round in which
    something failed is left out, and the reason kept."""
    row, name = BENCH_ROWS[key], OURS
    try:
        loops = {OURS: row.measure(session, OURS)["cpu_us"]}
        name = "floor"
        parts, loops[STAND_IN] = FLOORS[key].measure(session.effort)
        if peer is not None:
            name = peer
            loops[peer] = row.measure(session, peer)["cpu_us"]
    except Failed as exc:
        result.failed = f"{name}: {exc}"
        console.print(f"{row.title} failed, {result.failed}", style="yellow")
        return
    result.rounds.append({"parts": parts, "loops": loops})


def print_floors(results: dict[str, FloorResult]) -> None:
    """Prints the table."""
    made = table("Floors, server CPU us per message or request", *floor_columns())
    for key, result in results.items():
        if result.rounds:
            made.add_row(*floor_cells(key, result))
    console.print(made)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floors", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of every row (5)")
    parser.add_argument("--rows", nargs="+", choices=FLOORS, metavar="ROW", default=list(FLOORS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    options = parser.parse_args()
    check_wrk()
    build_c_programs()
    bench = bench_results()
    peers = {key: cheapest_peer(bench, key) for key in options.rows}
    complete = len(options.rows) == len(FLOORS)
    kept = result_file("floors", False) if complete else C_PROGRAMS.parent / "floors-partial.json"
    path = options.json or kept
    about = circumstances([OURS, *sorted({peer for peer in peers.values() if peer})])
    results = {key: FloorResult(FLOORS[key].text) for key in options.rows}
    session = Session(FULL)
    try:
        for number in range(1, options.rounds + 1):
            for key, result in results.items():
                measure_round(session, key, peers[key], result)
            save_floors(path, about, results)
            console.print(f"round {number} of {options.rounds} ended", style="dim")
    finally:
        session.close()
    print_floors(results)
    console.print(f"results: {path}", style="dim")
    return 1 if any(result.failed for result in results.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
