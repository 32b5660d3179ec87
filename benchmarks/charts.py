"""Pictures of results: the speed of each loop on each row, and the curves of the scale runs.

Every loop has one colour and one marker in all pictures; pyasync's stands out. Axes with ratios and
sizes are logarithmic, units are named, and nothing is drawn that is not in the JSON.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draws into a file; no display is needed

from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.hand_rows import BY_HAND
from benchmarks.processes import C_SERVER
from benchmarks.report import Spread
from benchmarks.results import Document, RowResult, best_peer, speed
from benchmarks.rows import BENCH_ROWS, GROUPS, BenchRow

STYLES = {  # loop -> colour, marker
    "asyncio": ("#7b8794", "o"),
    "pyasync": ("#c2410c", "D"),
    "uvloop": ("#0b6e99", "s"),
    "zuvloop": ("#5b8c2a", "^"),
    "rsloop": ("#8e5ea2", "v"),
    "rloop": ("#c49a00", "P"),
    C_SERVER: ("black", "x"),
    BY_HAND: ("black", "+"),
}
DPI = 100
SMALL = 7  # points, of notes and legends


def relative_speed(result: RowResult, loop: str, reference: str) -> Spread | None:
    """How many times as good as `reference` a loop is on one row, over the rounds."""
    if loop in result.failed:
        return None
    turns = result.common(loop, reference)
    if not turns:
        return None
    return Spread.of(speed(turn, loop, reference) for turn in turns)


def draw_loop(axes: Axes, document: Document, rows: list[BenchRow], loop: str) -> None:
    """The points of one loop, with the range of the rounds."""
    colour, marker = STYLES[loop]
    places, spreads = [], []
    for place, row in enumerate(rows):
        result = document.results[row.key]
        best = best_peer(row, result, document.loops)
        spread = relative_speed(result, loop, best) if best else None
        if spread is not None:
            places.append(place)
            spreads.append(spread)
    if not places:
        return
    middles = [spread.median for spread in spreads]
    reach = [
        [spread.median - spread.low for spread in spreads],
        [spread.high - spread.median for spread in spreads],
    ]
    axes.errorbar(
        middles,
        places,
        xerr=reach,
        fmt=marker,
        color=colour,
        label=loop,
        markersize=7 if loop == "pyasync" else 5,
        linewidth=1,
        zorder=3 if loop == "pyasync" else 2,
    )


def draw_rows(path: Path, title: str, document: Document) -> None:
    """One picture of all rows: each loop's speed relative to the best peer of the row."""
    groups = [
        [BENCH_ROWS[key] for key in document.results if BENCH_ROWS[key].group == group]
        for group in GROUPS
    ]
    sizes = [max(len(rows), 1) for rows in groups]
    figure, all_axes = pyplot.subplots(
        len(GROUPS),
        1,
        figsize=(9, 0.26 * sum(sizes) + 2.5),
        height_ratios=sizes,
        sharex=True,
        layout="constrained",
    )
    for axes, group, rows in zip(all_axes, GROUPS, groups, strict=True):
        for loop in (*document.loops, C_SERVER, BY_HAND):
            draw_loop(axes, document, rows, loop)
        axes.axvline(1, color="#444444", linewidth=1)
        axes.set_yticks(range(len(rows)), [row.title for row in rows], fontsize=8)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(axis="x", alpha=0.3)
        axes.set_title(group, fontsize=9, loc="left")
    for axes in all_axes[:2]:  # all loops, and each of the limits
        axes.legend(fontsize=SMALL, loc="best", ncols=2)
    all_axes[-1].set_xlabel("times as fast as the best peer of the row (right is better)")
    figure.suptitle(f"{title}: medians of the rounds, lines from the least to the most", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    pyplot.close(figure)
