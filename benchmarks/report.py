"""Medians, spreads, and the tables and files that results go to.

Figures of one round are compared with figures of the same round only: a ratio is the median of the
rounds' ratios, printed with the smallest and the largest, so that a busy machine shows as a wide
spread and not as a wrong number.
"""

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.loops import loop_version

console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of some figures."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """The spread of at least one value."""
        known = sorted(values)
        return cls(statistics.median(known), known[0], known[-1])

    def as_ratio(self) -> str:
        """The spread as text, with two decimals."""
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def ratios(values: Sequence[float], reference: Sequence[float]) -> Spread:
    """The spread of each round's value over the same round's reference."""
    return Spread.of(value / base for value, base in zip(values, reference, strict=True))


def cpu_model() -> str:
    """The processor's name as the kernel gives it, or the architecture."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def machine(packages: Sequence[str] = ()) -> str:
    """One line that says where figures come from: processor, kernel, Python and versions."""
    cores = len(os.sched_getaffinity(0))
    parts = [
        f"{cpu_model()}, {cores} cores",
        f"{platform.system()} {platform.release()}",
        f"CPython {platform.python_version()}",
    ]
    parts += [f"{name} {metadata.version(name)}" for name in packages]
    return "; ".join(parts)


def loop_versions(names: Iterable[str]) -> str:
    """The measured loops with their versions."""
    return ", ".join(f"{name} {loop_version(name)}".strip() for name in names)


def print_header(title: str, loops: Sequence[str], packages: Sequence[str] = ()) -> None:
    """Prints what is measured and on what."""
    console.print(f"[bold]{title}[/bold]")
    console.print(f"{machine(packages)}; {loop_versions(loops)}", style="dim")


def table(title: str, *columns: str) -> Table:
    """An empty table whose first column is a name and whose others are figures."""
    made = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return made


def write_json(path: str | None, loops: Sequence[str], results: Any) -> None:
    """Writes results with a description of the machine to `path`, if one was given."""
    if path is None:
        return
    document = {"machine": machine(), "loops": loop_versions(loops), "results": results}
    text = json.dumps(document, indent=2, default=asdict)
    Path(path).write_text(text + "\n")
