"""Draws the demonstration's figures: one picture, all axes from zero, units named.

Bars are medians of the rounds, the thin lines reach from the smallest round to the largest. The
machine and the versions stand in small print, so that the picture can be judged on its own.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # draws into a file; no display is needed

from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.report import Spread, loop_versions, machine
from benchmarks.task_rows import ROWS
from benchmarks.tasks import Rounds, cost
from benchmarks.wrk import HttpFigures

COLOURS = ("#9aa5b1", "#0b6e99")  # the reference, the loop
PANELS: tuple[tuple[str, str, Callable[[HttpFigures], float]], ...] = (
    ("Requests per second", "requests/s (more is better)", lambda turn: turn.requests_per_s),
    ("99th percentile latency", "ms (less is better)", lambda turn: turn.p99_us / 1000),
    ("Server CPU per request", "us (less is better)", lambda turn: turn.cpu_us),
)


def reach(spreads: Sequence[Spread]) -> list[list[float]]:
    """Distances from the median to the smallest and the largest, as matplotlib's error bars."""
    return [
        [spread.median - spread.low for spread in spreads],
        [spread.high - spread.median for spread in spreads],
    ]


def draw_http(
    axes: Axes, title: str, unit: str, loops: Sequence[str], spreads: list[Spread]
) -> None:
    """One panel with a bar for each loop."""
    bars = axes.bar(
        loops,
        [spread.median for spread in spreads],
        yerr=reach(spreads),
        color=COLOURS,
        width=0.6,
        error_kw={"linewidth": 1},
    )
    axes.bar_label(bars, fmt="{:,.4g}", label_type="center", color="white", fontweight="bold")
    axes.set_title(title, fontsize=11)
    axes.set_ylabel(unit)
    axes.set_ylim(bottom=0)


def draw_tasks(axes: Axes, tasks: Rounds, loops: Sequence[str]) -> None:
    """Horizontal bars, one pair for each row of the table of costs."""
    rows = list(tasks[0][loops[0]])
    height = 0.4
    for index, loop in enumerate(loops):
        spreads = [cost(tasks, loop, row) for row in rows]
        places = [place + (index - 0.5) * height for place in range(len(rows))]
        bars = axes.barh(
            places,
            [spread.median for spread in spreads],
            height,
            xerr=reach(spreads),
            color=COLOURS[index],
            label=loop,
            error_kw={"linewidth": 0.8},
        )
        axes.bar_label(bars, fmt="{:,.0f}", padding=4, fontsize=8)
    axes.set_yticks(range(len(rows)), [ROWS[row].title for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.margins(x=0.08)
    axes.set_xlabel("ns per operation (less is better)")
    axes.set_title("Tasks and scheduling", fontsize=11)
    axes.legend(loc="lower right")


def draw(
    path: Path,
    http: list[dict[str, HttpFigures]],
    tasks: Rounds,
    loops: Sequence[str],
    lines: Sequence[str],
) -> None:
    """Writes the picture to `path` (its ending chooses the format, such as .png or .svg)."""
    figure = pyplot.figure(figsize=(11, 10), layout="constrained")
    grid: Any = figure.add_gridspec(2, len(PANELS), height_ratios=(1, 1.7))
    for column, (title, unit, value) in enumerate(PANELS):
        spreads = [Spread.of(value(turn[loop]) for turn in http) for loop in loops]
        draw_http(figure.add_subplot(grid[0, column]), title, unit, loops, spreads)
    draw_tasks(figure.add_subplot(grid[1, :]), tasks, loops)
    figure.suptitle("One aiohttp application under wrk, and what tasks cost\n" + "\n".join(lines))
    day = datetime.now(UTC).date().isoformat()
    print_line = f"{machine(('aiohttp',))}; {loop_versions(loops)}; {day}"
    figure.supxlabel(
        f"{print_line}\nmedian of {len(http)} rounds in turns, lines: min-max", fontsize=7
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
