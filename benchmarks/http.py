"""HTTP: httptools alone, aiohttp and uvicorn (httptools) under wrk on each loop, errors counted.

    python -m benchmarks.http --loops asyncio pyasync [--frameworks aiohttp uvicorn]

The loops take turns, each turn in a fresh process. Answers other than 2xx and socket errors must be
none; with any the run ends with status 1.
"""

import argparse

from benchmarks.http_server import FRAMEWORKS
from benchmarks.loops import add_loops_option, require_loops
from benchmarks.processes import Server, python_module
from benchmarks.report import print_header, write_json
from benchmarks.wrk import HttpFigures, check_wrk, measure, print_http


def http_server_command(framework: str, loop: str) -> list[str]:
    """The command line of the HTTP server of one framework on one loop."""
    return python_module("benchmarks.http_server", "--framework", framework, "--loop", loop)


def serve_and_load(framework: str, loop: str, seconds: float, connections: int) -> HttpFigures:
    """One turn of one framework on one loop: `GET /` for `seconds`."""
    with Server(http_server_command(framework, loop)) as server:
        return measure(server, f"http://127.0.0.1:{server.address}/", seconds, connections)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    add_loops_option(parser)
    parser.add_argument(
        "--frameworks", nargs="+", choices=FRAMEWORKS, default=list(FRAMEWORKS), metavar="NAME"
    )
    parser.add_argument("--connections", type=int, default=50, help="clients (50)")
    parser.add_argument("--seconds", type=int, default=3, help="measured per turn (3)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each loop (3)")
    parser.add_argument("--json", metavar="FILE", help="write the rounds there")
    options = parser.parse_args()

    require_loops(options.loops)
    check_wrk()
    print_header("HTTP under wrk", options.loops, ("aiohttp", "uvicorn", "httptools"))
    results = {}
    for framework in options.frameworks:
        results[framework] = [
            {
                loop: serve_and_load(framework, loop, options.seconds, options.connections)
                for loop in options.loops
            }
            for _ in range(options.rounds)
        ]
        title = f"{framework}, {options.connections} connections, median of {options.rounds} rounds"
        print_http(title, results[framework], options.loops)
    write_json(options.json, options.loops, results)
    turns = (figures for rounds in results.values() for turn in rounds for figures in turn.values())
    return 1 if any(figures.errors for figures in turns) else 0


if __name__ == "__main__":
    raise SystemExit(main())
