"""Draws the demonstration's figures: one picture, all axes from zero, units named.

Bars are medians of the rounds, the thin lines reach from the smallest round to the largest. The
machine and the versions stand in small print, so that the picture can be judged on its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from benchmarks.wrk import HttpFigures, HttpRounds

COLOURS = ("#7b8794", "#0b6e99")  # the reference, the loop


@dataclass(frozen=True)
class Panel:
    """One figure of the HTTP load: its title, unit, number format and where it comes from."""

    title: str
    unit: str
    number: str
    value: Callable[[HttpFigures], float]


PANELS = (
    Panel(
        "Requests per second",
        "requests/s (more is better)",
        "{:,.0f}",
        lambda turn: turn.requests_per_s,
    ),
    Panel(
        "99th percentile latency",
        "ms (less is better)",
        "{:.2f}",
        lambda turn: turn.p99_us / 1000,
    ),
    Panel(
        "Server CPU per request",
        "us (less is better)",
        "{:.1f}",
        lambda turn: turn.cpu_us,
    ),
)


def reach(spreads: Sequence[Spread]) -> list[list[float]]:
    """Distances from the median to the smallest and the largest, as matplotlib's error bars."""
    return [
        [spread.median - spread.low for spread in spreads],
        [spread.high - spread.median for spread in spreads],
    ]


def draw_http(axes: Axes, panel: Panel, http: HttpRounds, loops: Sequence[str]) -> None:
    """One panel with a bar for each loop and its median at the foot of the bar."""
    spreads = [Spread.of(panel.value(turn[loop]) for turn in http) for loop in loops]
    axes.bar(
        loops,
        [spread.median for spread in spreads],
        yerr=reach(spreads),
        color=COLOURS,
        width=0.6,
        error_kw={"linewidth": 1},
    )
    for place, spread in enumerate(spreads):
        axes.text(
            place,
            0.03,
            panel.number.format(spread.median),
            transform=axes.get_xaxis_transform(),
            horizontalalignment="center",
            color="white",
            fontweight="bold",
        )
    axes.set_title(panel.title, fontsize=11)
    axes.set_ylabel(panel.unit)
    axes.set_ylim(bottom=0)


def draw_tasks(axes: Axes, tasks: Rounds, loops: Sequence[str]) -> None:
    """Horizontal bars, one pair for each row of the table of costs."""
    rows = list(tasks[0][loops[0]].costs)
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
    axes.set_xlabel("CPU ns per operation (less is better)")
    axes.set_title("Tasks and scheduling", fontsize=11)
    axes.legend(loc="upper right")


def draw(
    path: Path, http: HttpRounds, tasks: Rounds, loops: Sequence[str], lines: Sequence[str]
) -> None:
    """Writes the picture to `path` (its ending chooses the format, such as .png or .svg).

    `lines` are the sentences that stand above the figures.
    """
    figure = pyplot.figure(figsize=(11, 10), layout="constrained")
    grid: Any = figure.add_gridspec(2, len(PANELS), height_ratios=(1, 1.7))
    for column, panel in enumerate(PANELS):
        draw_http(figure.add_subplot(grid[0, column]), panel, http, loops)
    draw_tasks(figure.add_subplot(grid[1, :]), tasks, loops)
    figure.suptitle("One aiohttp application under wrk, and what tasks cost\n" + "\n".join(lines))
    day = datetime.now(UTC).date().isoformat()
    figure.supxlabel(
        f"{machine(('aiohttp',))}; {loop_versions(loops)}; {day}\n"
        f"bars: median of {len(http)} rounds, the loops in turns; lines: smallest to largest round",
        fontsize=7,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
