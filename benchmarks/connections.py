"""Many connections open at once: each echoes, none may be lost, and what an idle one costs.

    python -m benchmarks.connections --loops asyncio pyasync [--connections 10000]

The load generator opens all connections, each with one echo, and holds them; then every connection
echoes again, all at the same time, `--bursts` times. The server's resident memory is read before,
with all connections idle, and after the bursts. It does not contain the kernel's socket buffers.
Ends with status 1 if a connection or a message was lost.
"""

import argparse
import json
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.load import HELD_STYLES, echo_server_command, load_command
from benchmarks.loops import add_loops_option, require_loops
from benchmarks.processes import (
    C_SERVER,
    Failed,
    Server,
    build_c_programs,
    load_core,
    pinned,
    raise_descriptor_limit,
    resident_bytes,
)
from benchmarks.report import console, print_header, table, write_json

SPARE_DESCRIPTORS = 100  # what a server has open besides its connections


@dataclass(frozen=True)
class Held:
    """What one server showed; memory in bytes."""

    open_seconds: float
    opened: int
    still_open: int
    messages: int
    errors: int
    memory_before: int
    memory_idle: int
    memory_after: int

    def per_connection(self) -> float:
        """Resident memory of one idle connection, in bytes."""
        return (self.memory_idle - self.memory_before) / self.opened


def read_phase(load: subprocess.Popen[str]) -> dict[str, Any]:
    """The load generator's report at the end of a phase; it then waits for a line."""
    assert load.stdout is not None
    line = load.stdout.readline()
    if not line:
        raise Failed(f"the load generator ended with status {load.wait()}")
    report: dict[str, Any] = json.loads(line)
    return report


def release(load: subprocess.Popen[str]) -> None:
    """Lets the load generator go on to its next phase."""
    assert load.stdin is not None
    load.stdin.write("\n")
    load.stdin.flush()


def hold(name: str, style: str, connections: int, bursts: int) -> Held:
    """Opens, holds and exercises the connections to one server."""
    with Server(echo_server_command(name, style, None)) as server:
        before = resident_bytes(server.pid)
        command = load_command(name, style, server.address, connections)
        command.append(f"--hold={bursts}")
        started = time.monotonic()
        with subprocess.Popen(
            pinned(command, load_core()), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as load:
            opened = read_phase(load)
            open_seconds = time.monotonic() - started
            idle = resident_bytes(server.pid)
            release(load)
            echoed = read_phase(load)
            after = resident_bytes(server.pid)
            release(load)
        server.check_alive()
    return Held(
        open_seconds=open_seconds,
        opened=opened["open"],
        still_open=echoed["open"],
        messages=echoed["messages"],
        errors=sum(echoed["errors"].values()),
        memory_before=before,
        memory_idle=idle,
        memory_after=after,
    )


def print_held(title: str, results: dict[str, Held]) -> None:
    """Prints one line per server."""
    made = table(
        title,
        "server",
        "opened",
        "held",
        "echoes",
        "errors",
        "open s",
        "MiB start",
        "MiB idle",
        "MiB end",
        "bytes/idle conn.",
    )
    for name, held in results.items():
        mebibytes = [
            f"{size / 2**20:.1f}"
            for size in (held.memory_before, held.memory_idle, held.memory_after)
        ]
        made.add_row(
            name,
            f"{held.opened:,}",
            f"{held.still_open:,}",
            f"{held.messages:,}",
            str(held.errors),
            f"{held.open_seconds:.2f}",
            *mebibytes,
            f"{held.per_connection():,.0f}",
        )
    console.print(made)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.connections", description=__doc__)
    add_loops_option(parser)
    parser.add_argument("--connections", type=int, default=10_000, help="open at once (10000)")
    parser.add_argument("--bursts", type=int, default=3, help="echoes of all at once (3)")
    parser.add_argument("--style", choices=HELD_STYLES, default="protocol")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    options = parser.parse_args()

    require_loops(options.loops)
    build_c_programs()
    raise_descriptor_limit(options.connections + SPARE_DESCRIPTORS)
    title = f"{options.connections:,} TCP connections open at once, {options.style}"
    print_header(title, options.loops)
    results = {
        name: hold(name, options.style, options.connections, options.bursts)
        for name in [C_SERVER, *options.loops]
    }
    expected = options.connections * (1 + options.bursts)
    print_held(f"{expected:,} echoes expected of each", results)
    write_json(options.json, options.loops, results)
    complete = all(
        held.errors == 0 and held.still_open == options.connections and held.messages == expected
        for held in results.values()
    )
    return 0 if complete else 1


if __name__ == "__main__":
    raise SystemExit(main())
