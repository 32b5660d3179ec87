"""The curves of benchmarks.scale as they are rendered: one picture per curve, one table of growth.

The table says for each figure what it is at the smallest and at the largest size, and by which
factor it grew in between; a loop that did not reach the largest size has its largest one named.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # draws into a file; no display is needed

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from benchmarks.charts import DPI, SMALL, STYLES
from benchmarks.markdown import number, table
from benchmarks.results import describe
from benchmarks.scale import CURVES, Curve, Point, median_of

COLUMNS = 2  # pictures of one curve side by side


@dataclass(frozen=True)
class ScaleDocument:
    """A run of benchmarks.scale as it was saved."""

    quick: bool
    about: dict[str, Any]
    curves: dict[str, dict[str, Any]]  # name -> {"points": {loop: [Point]}, "failed": {...}}


def load_scale(path: Path) -> ScaleDocument:
    """Reads what benchmarks.scale wrote; curves that are no longer known are left out."""
    document = json.loads(path.read_text())
    curves = {name: curve for name, curve in document["curves"].items() if name in CURVES}
    return ScaleDocument(document["quick"], document["about"], curves)


def series(points: list[Point], figure: str) -> tuple[list[int], list[float]]:
    """Sizes and medians of one loop's figure, where it has one."""
    found = [(point["size"], median_of(point, figure)) for point in points]
    known = [(size, value) for size, value in found if value is not None]
    return [size for size, _ in known], [value for _, value in known]


def draw_figure(axes: Axes, curve: Curve, figure: str, points: dict[str, list[Point]]) -> None:
    """One figure of a curve: a line for each loop."""
    for loop, found in points.items():
        sizes, values = series(found, figure)
        if not sizes:
            continue
        colour, marker = STYLES[loop]
        width = 2.0 if loop == "pyasync" else 1.0
        axes.plot(sizes, values, color=colour, marker=marker, label=loop, lw=width, markersize=4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    widen(axes)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.set_xlabel(curve.axis, fontsize=8)
    axes.set_title(curve.figures[figure], fontsize=9, loc="left")
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=SMALL)


def widen(axes: Axes) -> None:
    """Makes the vertical axis span a decade at least, so that small differences look small."""
    low, high = axes.get_ylim()
    if high < 10 * low:
        middle = (low * high) ** 0.5
        axes.set_ylim(middle / 10**0.5, middle * 10**0.5)


def draw_curve(path: Path, curve: Curve, points: dict[str, list[Point]]) -> None:
    """The picture of one curve, with one part for each of its figures."""
    rows = -(-len(curve.figures) // COLUMNS)
    figure, grid = pyplot.subplots(
        rows, COLUMNS, figsize=(9, 3.2 * rows), layout="constrained", squeeze=False
    )
    places = grid.flatten()
    for axes, name in zip(places, curve.figures, strict=False):
        draw_figure(axes, curve, name, points)
    for axes in places[len(curve.figures) :]:
        axes.axis("off")
    places[0].legend(fontsize=SMALL)
    figure.suptitle(f"{curve.title}: medians of the rounds", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    pyplot.close(figure)


def growth_table(curve: Curve, points: dict[str, list[Point]]) -> str:
    """What each figure is at both ends of the curve, and the factor between them."""
    lines = []
    for figure, unit in curve.figures.items():
        for loop, found in points.items():
            sizes, values = series(found, figure)
            if len(sizes) < 2:
                continue
            ends = f"{sizes[0]:,} to {sizes[-1]:,}"
            growth = f"{values[-1] / values[0]:.2f}"
            lines.append([unit, loop, ends, number(values[0]), number(values[-1]), growth])
    columns = ["figure", "loop", curve.axis, "at the least", "at the most", "growth"]
    return table(columns, lines)


def scale_section(version: str, document: ScaleDocument, pictures: Path) -> str:
    """The curves of one Python version; draws their pictures into the folder `pictures`."""
    kind = "Quick run" if document.quick else "Full run"
    parts = [f"## Scale, CPython {version}", f"{kind}. {describe(document.about)}."]
    for name, found in document.curves.items():
        curve = CURVES[name]
        picture = pictures / f"scale-{version}-{name}.png"
        draw_curve(picture, curve, found["points"])
        parts += [
            f"### {curve.title}",
            f"![{curve.title}]({pictures.name}/{picture.name})",
            growth_table(curve, found["points"]),
        ]
        failed = [f"- {loop} failed at {reason}" for loop, reason in found["failed"].items()]
        parts.append("\n".join(failed))
    return "\n\n".join(part for part in parts if part)
