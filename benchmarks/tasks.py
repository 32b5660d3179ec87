"""Tasks and scheduling: CPU nanoseconds per operation of each loop, and ratios to the first.

    python -m benchmarks.tasks --loops asyncio pyasync [uvloop zuvloop rsloop rloop]

In every round each loop measures all rows in a process of its own, pinned to one core, in turns;
the figure is the median of the rounds, the ratio the median of the rounds' ratios with its spread.
A ratio of 2 means that the loop needs half the time of the first one.
"""

import argparse
import json
import subprocess
from dataclasses import asdict

from benchmarks.loops import LOOPS, add_loops_option, loop_factory, require_loops
from benchmarks.processes import pinned, python_module, server_core
from benchmarks.report import Spread, console, print_header, ratios, table, write_json
from benchmarks.task_rows import ROWS, Turn, measure_loop

Rounds = list[dict[str, Turn]]  # per round: loop -> what it measured


def measure_in_process(loop: str, rows: list[str], repeats: int) -> Turn:
    """All rows of one loop, measured in a pinned process of its own."""
    command = python_module(
        "benchmarks.tasks", "--measure", loop, "--repeats", str(repeats), "--rows", *rows
    )
    done = subprocess.run(
        pinned(command, server_core()), stdout=subprocess.PIPE, text=True, timeout=300
    )
    if done.returncode != 0:
        raise SystemExit(f"measuring {loop} failed with status {done.returncode}")
    return Turn(**json.loads(done.stdout))


def measure_rounds(loops: list[str], rows: list[str], rounds: int, repeats: int) -> Rounds:
    """All loops in turns, `rounds` times."""
    return [
        {loop: measure_in_process(loop, rows, repeats) for loop in loops} for _ in range(rounds)
    ]


def cost(rounds: Rounds, loop: str, row: str) -> Spread:
    """Nanoseconds per operation over the rounds."""
    return Spread.of(turn[loop].costs[row] for turn in rounds)


def speed_ratio(rounds: Rounds, loop: str, reference: str, row: str) -> Spread:
    """How many times as fast `loop` is as `reference`, over the rounds."""
    return ratios(
        [turn[reference].costs[row] for turn in rounds], [turn[loop].costs[row] for turn in rounds]
    )


def print_costs(rounds: Rounds, loops: list[str], rows: list[str]) -> None:
    """Prints ns per operation of each loop, and how many times as fast as the first the others are.

    The ratios stand beside the costs of two loops, and in a table of their own for more.
    """
    reference, *others = loops
    title = f"Tasks and scheduling, CPU time, median of {len(rounds)} rounds"
    costs = [[f"{cost(rounds, loop, row).median:,.0f}" for loop in loops] for row in rows]
    faster = [
        [speed_ratio(rounds, loop, reference, row).as_ratio() for loop in others] for row in rows
    ]
    cost_columns = [f"{loop} ns" for loop in loops]
    if len(others) == 1:
        both = [own + ratio for own, ratio in zip(costs, faster, strict=True)]
        print_rows(title, rows, [*cost_columns, f"times {reference} (min-max)"], both)
    else:
        print_rows(title, rows, cost_columns, costs)
        if others:
            print_rows(f"Times as fast as {reference} (min-max)", rows, others, faster)
    shares = (
        f"{loop} {Spread.of(turn[loop].busy for turn in rounds).median:.0%}" for loop in loops
    )
    console.print(f"share of the core: {', '.join(shares)}", style="dim")


def print_rows(title: str, rows: list[str], columns: list[str], cells: list[list[str]]) -> None:
    """Prints one table with a line for each row of ROWS."""
    made = table(title, "work", *columns)
    for row, figures in zip(rows, cells, strict=True):
        made.add_row(ROWS[row].title, *figures)
    console.print(made)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tasks", description=__doc__)
    add_loops_option(parser)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each loop (5)")
    parser.add_argument("--repeats", type=int, default=3, help="best of, within a turn (3)")
    parser.add_argument("--json", metavar="FILE", help="write the rounds there")
    parser.add_argument("--measure", choices=LOOPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        turn = measure_loop(loop_factory(options.measure), options.rows, options.repeats)
        print(json.dumps(asdict(turn)))
        return 0
    require_loops(options.loops)
    print_header("Tasks and scheduling", options.loops)
    rounds = measure_rounds(options.loops, options.rows, options.rounds, options.repeats)
    print_costs(rounds, options.loops, options.rows)
    write_json(options.json, options.loops, rounds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
