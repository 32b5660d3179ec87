"""make bench: every row on every loop, interleaved; ratios to the best peer with their spread.

    python -m benchmarks [--quick] [--rows ROW ...] [--loops LOOP ...] [--json FILE]

In each round a row is measured on every loop, and ratios are taken within the round. All loops
share one core, and the load of servers has the other: what slows the machine down for a moment, by
half at times, slows all of them. They run at once, or, if they are large servers, pyasync's and one
other at a time. How many messages a server answers per second is measured after that, while it has
the core for itself. The row that takes the clock on the wall is measured on one loop after the
other (in every second round from the last loop to the first). A few rounds of a row follow each
other on the same processes, then as many of the next row, and after the last row the first has more
in fresh processes, until the number of rounds or the time is used up; the first few are always
finished. A row that a loop cannot run is shown as failed, with the reason, and not tried again. A
run of all rows and loops is kept in benchmarks/results/, from which `python -m benchmarks.render`
makes the documentation.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.loops import LOOPS
from benchmarks.markdown import (
    failures,
    group_columns,
    losses,
    mean_cells,
    row_cells,
    row_columns,
    verdict_counts,
)
from benchmarks.peers import usable_loops
from benchmarks.processes import C_PROGRAMS, Failed, build_c_programs
from benchmarks.report import table
from benchmarks.results import (
    BESIDE,
    OURS,
    RATE_ALONE,
    Document,
    Results,
    RowResult,
    circumstances,
    describe,
    result_file,
)
from benchmarks.rows import ALL, BENCH_ROWS, GROUPS, PAIRS, STARTS, WORKERS, BenchRow
from benchmarks.turns import FULL, QUICK, Figures, Session
from benchmarks.wrk import check_wrk

WIDTH = 190  # of the tables, which rather wrap than lose a figure
console = Console(width=WIDTH, highlight=False)


def measure_names(
    session: Session, row: BenchRow, names: Sequence[str], workers: int, result: RowResult
) -> dict[str, Figures]:
    """A turn of each of `names`, `workers` at once; who fails is not among the figures."""
    figures = {}
    with ThreadPoolExecutor(workers) as pool:
        turns = {name: pool.submit(row.measure, session, name) for name in names}
        for name, turn in turns.items():
            try:
                figures[name] = turn.result()
            except Failed as exc:
                result.failed[name] = str(exc)
                console.print(f"{row.title}: {name} failed: {exc}", style="yellow")
    return figures


def measure_pairs(
    session: Session, row: BenchRow, names: Sequence[str], result: RowResult
) -> dict[str, Figures]:
    """A turn of pyasync and each other of `names` at once; pyasync's own figures are the medians of
    its turns, and its value of each stands among the other's as "beside"."""
    figures, ours = {}, []
    for name in names:
        if name != OURS and OURS not in result.failed:
            pair = measure_names(session, row, (OURS, name), 2, result)
            ours += [pair[OURS]] if OURS in pair else []
            if len(pair) == 2:
                figures[name] = {**pair[name], BESIDE: pair[OURS]["value"]}
    if ours:
        figures[OURS] = {key: statistics.median(turn[key] for turn in ours) for key in ours[0]}
    return figures


def measure_together(
    session: Session, row: BenchRow, names: Sequence[str], result: RowResult
) -> dict[str, Figures]:
    """A turn of each of `names` on a shared core, after each server has started and served, or each
    worker has started."""
    if row.together == WORKERS:
        for name in names:
            session.worker(name)
    elif row.together != STARTS and not session.servers:
        measure_names(session, row, names, 1, result)
    names = [name for name in names if name not in result.failed]
    pairs = row.together == PAIRS and OURS in names and len(names) > 1
    effort = session.effort
    session.shared = effort.pair_seconds if pairs else effort.shared_seconds
    if pairs:
        figures = measure_pairs(session, row, names, result)
    else:
        figures = measure_names(session, row, names, max(1, len(names)), result)
    session.shared = None
    return figures


def measure_alone(
    session: Session, row: BenchRow, names: Sequence[str], rounds: int, result: RowResult
) -> None:
    """How much each server answers with a core for itself, once it has served for a while: into the
    last `rounds` rounds, in which it shared one."""
    names = [name for name in (*row.servers, *names) if name not in result.failed]
    for name, alone in measure_names(session, row, names, 1, result).items():
        for turn in result.rounds[-rounds:]:
            if name in turn:
                turn[name][RATE_ALONE] = alone["rate"]


def measure_row(session: Session, row: BenchRow, names: Sequence[str], result: RowResult) -> None:
    """One round of one row: the turn of each loop, and of the servers it is measured beside.

    The order changes each time, as a machine that grows slower would favour who comes first.
    """
    order = [name for name in (*row.servers, *names) if name not in result.failed]
    if len(result.rounds) % 2:
        order.reverse()
    if row.together:
        result.rounds.append(measure_together(session, row, order, result))
    else:
        result.rounds.append(measure_names(session, row, order, 1, result))


def measure_rounds(
    session: Session, rows: Sequence[BenchRow], loops: Sequence[str], results: Results
) -> Iterator[str]:
    """All rounds of all rows into `results`, as far as the effort's time allows; what was done is
    said each time that all rows had their turn."""
    started, effort = time.monotonic(), session.effort
    for first in range(0, effort.rounds, effort.together):
        numbers = range(first + 1, min(first + effort.together, effort.rounds) + 1)
        for done, row in enumerate(rows):
            spent = time.monotonic() - started
            if first > 0 and spent > effort.budget:
                yield f"time is up in round {first + 1}, after {done} rows and {spent:.0f} s"
                return
            with console.status(f"round {first + 1}, {spent:.0f} s: {row.title}"):
                for _ in numbers:
                    measure_row(session, row, loops, results[row.key])
                if row.together in (ALL, PAIRS):
                    measure_alone(session, row, loops, len(numbers), results[row.key])
            session.end_row()
        session.end_rows()
        yield f"round {numbers[-1]} ended after {time.monotonic() - started:.0f} s"


def print_group(document: Document, group: str) -> None:
    """Prints the rows of one group, each with its verdict."""
    rows = [BENCH_ROWS[key] for key in document.results if BENCH_ROWS[key].group == group]
    names = group_columns(document, group)
    made = table(group, *row_columns(names))
    for row in rows:
        made.add_row(*row_cells(document, row, names))
    if rows:
        console.print(made)


def print_document(document: Document) -> None:
    """Prints every group, the geometric means, what is slower and what failed."""
    for group in GROUPS:
        print_group(document, group)
    columns, lines = mean_cells(document)
    made = table("Geometric means of the ratios", *columns)
    for line in lines:
        made.add_row(*line)
    console.print(made)
    console.print(verdict_counts(document))
    console.print(losses(document))
    console.print(failures(document), style="yellow")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within three minutes")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="keys, or parts of keys, of rows")
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=list(LOOPS), metavar="LOOP")
    parser.add_argument("--rounds", type=int, help="at most so many rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--list", action="store_true", help="list the rows and end")
    return parser.parse_args()


def chosen_rows(parts: Sequence[str] | None) -> list[BenchRow]:
    """The rows whose key is named, or contains what is named; exits if nothing fits."""
    if not parts:
        return list(BENCH_ROWS.values())
    chosen = [
        row
        for row in BENCH_ROWS.values()
        if any(part == row.key or (part not in BENCH_ROWS and part in row.key) for part in parts)
    ]
    if not chosen:
        raise SystemExit(f"no row fits {' '.join(parts)}; rows: {' '.join(BENCH_ROWS)}")
    return chosen


def main() -> int:
    options = parse_options()
    rows = chosen_rows(options.rows)
    if options.list:
        console.print("\n".join(f"{row.key:22}{row.title}" for row in rows))
        return 0
    check_wrk()
    build_c_programs()
    loops, missing = usable_loops(options.loops)
    for loop, reason in missing.items():
        console.print(f"{loop} is left out: {reason}", style="yellow")
    about = circumstances(loops)
    console.print(describe(about), style="dim")
    effort = QUICK if options.quick else FULL
    if options.rounds:
        effort = replace(effort, rounds=options.rounds)
    complete = len(rows) == len(BENCH_ROWS) and len(options.loops) == len(LOOPS)
    path = options.json or default_file(complete, options.quick)
    document = Document(options.quick, about, missing, {row.key: RowResult() for row in rows})
    session = Session(effort)
    try:
        for progress in measure_rounds(session, rows, loops, document.results):
            console.print(progress, style="dim")
            document.save(path)
    finally:
        session.close()
    print_document(document)
    console.print(f"results: {path}", style="dim")
    return 0


def default_file(complete: bool, quick: bool) -> Path:
    """Where results go unless --json says: only a complete run is kept with the sources."""
    return result_file("bench", quick) if complete else C_PROGRAMS.parent / "bench-partial.json"


if __name__ == "__main__":
    raise SystemExit(main())
