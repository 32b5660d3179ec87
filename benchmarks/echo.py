"""TCP and unix echo: messages per second and server CPU per message, against a C libuv server.

    python -m benchmarks.echo --loops asyncio pyasync --size 1024 --connections 50 --style protocol

The C server and each loop's server take turns (C, asyncio, pyasync, C, ...), every turn in a fresh
process on one core with the load generator on another; ratios are taken within a round. The load
generator verifies every byte; any error ends the run with status 1. The tls styles speak TLS with
the load generator; the C server knows neither TLS nor UDP nor WebSockets and stays the limit of
plain TCP.
"""

import argparse
from typing import Any

from benchmarks.load import ECHO_STYLES, echo_turn
from benchmarks.loops import add_loops_option, require_loops
from benchmarks.processes import C_SERVER, build_c_programs
from benchmarks.report import Spread, console, print_header, ratios, table, write_json


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One turn of one server: the load generator's result, with its error count."""
    return echo_turn(
        name,
        options.style,
        connections=options.connections,
        size=options.size,
        seconds=options.seconds,
        unix=options.unix,
    )


def summarise(rounds: list[dict[str, dict[str, Any]]], name: str) -> dict[str, Any]:
    """One server's medians over the rounds, and its ratios to the C server of the same rounds."""
    own = [turn[name] for turn in rounds]
    limit = [turn[C_SERVER] for turn in rounds]

    def figures(turns: list[dict[str, Any]], key: str) -> list[float]:
        return [turn[key] for turn in turns]

    return {
        "messages_per_s": Spread.of(figures(own, "messages_per_s")),
        "server_cpu_us": Spread.of(figures(own, "server_cpu_us")),
        "server_busy": Spread.of(figures(own, "server_busy")),
        "p50_us": Spread.of(turn["latency_us"]["p50"] for turn in own),
        "p99_us": Spread.of(turn["latency_us"]["p99"] for turn in own),
        "cpu_ratio": ratios(figures(own, "server_cpu_us"), figures(limit, "server_cpu_us")),
        "rate_ratio": ratios(figures(own, "messages_per_s"), figures(limit, "messages_per_s")),
        "errors": sum(sum(turn["errors"].values()) for turn in own),
    }


def print_summary(title: str, summary: dict[str, dict[str, Any]]) -> None:
    """Prints one line per server."""
    made = table(
        title,
        "server",
        "msg/s",
        "CPU us/msg",
        "busy",
        "p50 us",
        "p99 us",
        "CPU / C (min-max)",
        "msg/s / C (min-max)",
        "errors",
    )
    for name, row in summary.items():
        made.add_row(
            name,
            f"{row['messages_per_s'].median:,.0f}",
            f"{row['server_cpu_us'].median:.2f}",
            f"{row['server_busy'].median:.0%}",
            f"{row['p50_us'].median:.0f}",
            f"{row['p99_us'].median:.0f}",
            row["cpu_ratio"].as_ratio(),
            row["rate_ratio"].as_ratio(),
            str(row["errors"]),
        )
    console.print(made)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.echo", description=__doc__)
    add_loops_option(parser)
    parser.add_argument("--size", type=int, default=1024, help="bytes per message (1024)")
    parser.add_argument("--connections", type=int, default=50, help="clients (50)")
    parser.add_argument("--style", choices=ECHO_STYLES, default="protocol")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured per turn (3)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server (5)")
    parser.add_argument("--unix", action="store_true", help="unix sockets instead of TCP")
    parser.add_argument("--json", metavar="FILE", help="write rounds and summary there")
    options = parser.parse_args()

    require_loops(options.loops)
    build_c_programs()
    kind = "unix" if options.unix else "TCP"
    title = f"{kind} echo, {options.style}, {options.size} bytes x {options.connections}"
    print_header(title, options.loops)
    names = [C_SERVER, *options.loops]
    rounds = [{name: measure(name, options) for name in names} for _ in range(options.rounds)]
    summary = {name: summarise(rounds, name) for name in names}
    print_summary(f"{options.rounds} rounds of {options.seconds:g} s", summary)
    write_json(options.json, options.loops, {"title": title, "rounds": rounds, "summary": summary})
    return 1 if any(row["errors"] for row in summary.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
