"""How cost grows: tasks, connections, timers and threads from few to very many, on every loop.

    python -m benchmarks.scale [--quick] [--rounds N] [--curves CURVE ...] [--loops LOOP ...]
                              [--json FILE]

For each size of each curve the loops take turns, as often as there are rounds; every point is a
fresh process with a time limit. A point that a loop cannot reach is left out of its curve and
listed with the reason, and its larger points are not tried. A complete run is kept in
benchmarks/results/, from which `python -m benchmarks.render` draws the curves.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.connections import SPARE_DESCRIPTORS, hold
from benchmarks.load import echo_turn
from benchmarks.loops import LOOPS
from benchmarks.peers import usable_loops
from benchmarks.processes import (
    C_PROGRAMS,
    Failed,
    build_c_programs,
    child_figures,
    raise_descriptor_limit,
)
from benchmarks.report import console, table
from benchmarks.results import circumstances, describe, result_file, write_document

POINT_LIMIT = 240.0  # s
MEASURABLE_CONNECTIONS = 1_000  # below, memory per connection is mostly other memory
MESSAGE_SIZE = 1024

Figures = dict[str, float]
Point = dict[str, Any]  # {"size": x, "rounds": [Figures, ...]}


@dataclass(frozen=True)
class Effort:
    """Rounds of every point, seconds of load per point, and the largest size of each curve."""

    rounds: int
    seconds: float
    largest: int


FULL = Effort(3, 2.0, 1_000_000)
QUICK = Effort(1, 0.3, 10_000)


def in_process(curve: str, effort: Effort, loop: str, size: int) -> Figures:
    """One point that a child process measures in itself."""
    options = ("--loop", loop, "--curve", curve, "--size", str(size))
    return child_figures(POINT_LIMIT, "benchmarks.scale_worker", *options)


def connected(style: str, effort: Effort, loop: str, size: int) -> Figures:
    """One point of echo load over `size` connections, and what an idle one of them takes."""
    turn = echo_turn(loop, style, size, MESSAGE_SIZE, effort.seconds)
    if any(turn["errors"].values()):
        raise Failed(f"errors: {turn['errors']}")
    figures = {
        "rate": turn["messages_per_s"],
        "p99_us": turn["latency_us"]["p99"],
        "cpu_us": turn["server_cpu_us"],
    }
    if size >= MEASURABLE_CONNECTIONS:
        held = hold(loop, style, size, 1)
        if held.errors or held.still_open != size:
            raise Failed(f"{held.still_open} of {size} connections held, {held.errors} errors")
        figures["bytes"] = held.per_connection()
    return figures


@dataclass(frozen=True)
class Curve:
    """One kind of scale: its sizes, how a point is measured, its figures with their units."""

    title: str
    axis: str
    sizes: tuple[int, ...]
    measure: Callable[[Effort, str, int], Figures]
    figures: dict[str, str]


DECADES = tuple(10**power for power in range(7))
ECHO_FIGURES = {
    "cpu_us": "server CPU us per message",
    "rate": "messages/s",
    "p99_us": "p99 latency, us",
    "bytes": "resident bytes per idle connection",
}

CURVES = {
    "tasks": Curve(
        "Tasks that give way in turn",
        "tasks",
        DECADES[1:],
        partial(in_process, "tasks"),
        {"ns": "CPU ns per switch", "bytes": "resident bytes per task"},
    ),
    "timers": Curve(
        "Timers",
        "timers",
        DECADES[3:],
        partial(in_process, "timers"),
        {
            "schedule": "CPU ns per schedule",
            "cancel": "CPU ns per cancel",
            "expiry": "CPU ns per expiry",
        },
    ),
    "threads": Curve(
        "call_soon_threadsafe() from threads",
        "threads",
        (1, 2, 4, 8, 16, 32, 64),
        partial(in_process, "threads"),
        {"ns": "CPU ns per call", "wall": "wall ns per call"},
    ),
    "connections": Curve(
        "TCP connections, echo of 1 KiB",
        "connections",
        DECADES[:5],
        partial(connected, "protocol"),
        ECHO_FIGURES,
    ),
    "tls_connections": Curve(
        "TLS connections, echo of 1 KiB",
        "connections",
        DECADES[:5],
        partial(connected, "tls"),
        ECHO_FIGURES,
    ),
}


def measure_curve(
    curve: Curve, effort: Effort, loops: Sequence[str], failed: dict[str, str]
) -> dict[str, list[Point]]:
    """The points of each loop; a loop that fails is noted in `failed` and left out from there."""
    points: dict[str, list[Point]] = {loop: [] for loop in loops}
    for size in (size for size in curve.sizes if size <= effort.largest):
        rounds: dict[str, list[Figures]] = {loop: [] for loop in loops if loop not in failed}
        for _ in range(effort.rounds):
            for loop in [loop for loop in rounds if loop not in failed]:
                try:
                    with console.status(f"{curve.title}: {size:,}, {loop}"):
                        rounds[loop].append(curve.measure(effort, loop, size))
                except Failed as exc:
                    failed[loop] = f"{size:,}: {exc}"
        for loop, figures in rounds.items():
            if loop not in failed:
                points[loop].append({"size": size, "rounds": figures})
    return points


def print_curve(curve: Curve, points: dict[str, list[Point]], failed: dict[str, str]) -> None:
    """Prints one line per loop and figure: its medians from the smallest size to the largest."""
    sizes = sorted({point["size"] for found in points.values() for point in found})
    made = table(curve.title, "loop", "figure", *(f"{size:,}" for size in sizes))
    for figure, unit in curve.figures.items():
        for loop, found in points.items():
            known = {point["size"]: median_of(point, figure) for point in found}
            cells = [f"{value:,.0f}" if (value := known.get(size)) else "-" for size in sizes]
            made.add_row(loop, unit, *cells)
    console.print(made)
    for loop, reason in failed.items():
        console.print(f"{loop} failed at {reason}", style="yellow")


def median_of(point: Point, figure: str) -> float | None:
    """The median of one figure over the rounds of a point; None if it has none."""
    values = sorted(turn[figure] for turn in point["rounds"] if figure in turn)
    return values[len(values) // 2] if values else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, sizes to 10,000")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns of each loop at each point")
    parser.add_argument("--curves", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=list(LOOPS), metavar="LOOP")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    if options.rounds is not None:
        effort = replace(effort, rounds=options.rounds)
    build_c_programs()
    raise_descriptor_limit(min(effort.largest, DECADES[4]) + SPARE_DESCRIPTORS)
    loops, missing = usable_loops(options.loops)
    about = circumstances(loops)
    console.print(describe(about), style="dim")
    document: dict[str, Any] = {"quick": options.quick, "about": about, "missing": missing}
    document["curves"] = {}
    for name in options.curves:
        started = time.monotonic()
        failed: dict[str, str] = {}
        points = measure_curve(CURVES[name], effort, loops, failed)
        document["curves"][name] = {"points": points, "failed": failed}
        print_curve(CURVES[name], points, failed)
        console.print(f"{time.monotonic() - started:.0f} s", style="dim")
    complete = len(options.curves) == len(CURVES) and len(options.loops) == len(LOOPS)
    partial_file = C_PROGRAMS.parent / "scale-partial.json"
    path = options.json or (result_file("scale", options.quick) if complete else partial_file)
    write_document(path, document)
    console.print(f"results: {path}", style="dim")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
