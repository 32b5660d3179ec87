"""What `make bench` found: kept as JSON, and the ratios that are made of it.

A document holds for each row its rounds, each a mapping from loop (or C server) to the figures of
that turn, and the loops that failed with the reason. Everything that is printed or rendered is
computed from it here, so the terminal, the tables in the documentation and the charts agree.
"""

import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.loops import LOOPS, loop_version
from benchmarks.report import Spread, cpu_model
from benchmarks.rows import BENCH_ROWS, BEST, BenchRow
from benchmarks.turns import Figures

OURS = "pyasync"
RATE_ALONE = "rate_alone"  # messages per second of a server that has a core for itself
BESIDE = "beside"  # among another loop's figures: pyasync's value while it ran beside that one
FOLDER = Path(__file__).parent / "results"
INNERMOST = re.compile(r"\{[^{}\[\]]*\}")  # objects that hold no others
LINE_END = re.compile(r"\n *")  # strings have none: there it is escaped
PACKAGES = ("aiohttp", "httptools", "uvicorn", "websockets")


@dataclass
class RowResult:
    """One row: its rounds so far, and what did not work."""

    rounds: list[dict[str, Figures]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def common(self, *names: str) -> list[dict[str, Figures]]:
        """The rounds in which all of these were measured."""
        return [turn for turn in self.rounds if all(name in turn for name in names)]

    def spread(self, name: str, figure: str = "value") -> Spread | None:
        """One loop's figure over the rounds; None if it failed or has none."""
        values = [turn[name][figure] for turn in self.common(name) if figure in turn[name]]
        return None if name in self.failed or not values else Spread.of(values)


Results = dict[str, RowResult]


@dataclass(frozen=True)
class Verdict:
    """pyasync on one row: the loop it is compared with, the ratio to it, the row's target."""

    reference: str
    ratio: Spread
    least: float  # the ratio to the best peer: the same unless the row is measured against C

    def word(self, row: BenchRow) -> str:
        """ "met", "not met", or "slower" than some peer."""
        if self.least < 1:
            return "slower"
        return "met" if self.ratio.median >= row.target else "not met"


def ratio_to(result: RowResult, reference: str) -> Spread | None:
    """How many times as good pyasync is as `reference`, round by round; None if one is missing."""
    if {OURS, reference} & result.failed.keys():
        return None
    turns = result.common(OURS, reference)
    if not turns:
        return None
    return Spread.of(speed(turn, OURS, reference) for turn in turns)


def speed(turn: dict[str, Figures], loop: str, reference: str) -> float:
    """How many times as good `loop` is as `reference` in one round: both are compared with pyasync,
    whose value may be another one beside each of them."""
    own = turn[OURS]["value"] if OURS in turn else 1.0

    def of(name: str) -> float:
        return turn[name].get(BESIDE, own) / turn[name]["value"]

    return of(loop) / of(reference)


def best_peer(row: BenchRow, result: RowResult, loops: Iterable[str]) -> str | None:
    """The loop other than pyasync with the best median of its rounds, compared with pyasync's if
    that works; None if none worked."""
    costs = {}
    for loop in loops:
        spread = ratio_to(result, loop) or result.spread(loop)
        if loop != OURS and loop not in row.not_a_peer and spread is not None:
            costs[loop] = spread.median
    return min(costs, key=lambda loop: costs[loop], default=None)


def verdict(row: BenchRow, result: RowResult, loops: Sequence[str]) -> Verdict | None:
    """How pyasync does on a row; None without pyasync or without anything to compare it with."""
    best = best_peer(row, result, loops)
    ratio = ratio_to(result, best) if best else None
    if best is None or ratio is None:
        return None
    if row.against != BEST:
        limit = ratio_to(result, row.against)
        return None if limit is None else Verdict(row.against, limit, ratio.median)
    return Verdict(best, ratio, ratio.median)


def geometric_mean(
    results: Results, loops: Sequence[str], group: str, reference: str = BEST
) -> tuple[float, int] | None:
    """Geometric mean of the ratios of a group's rows to the best peer of each row, or to one loop;
    and the number of rows in it."""
    ratios = []
    for key, result in results.items():
        row = BENCH_ROWS[key]
        other = best_peer(row, result, loops) if reference == BEST else reference
        if row.group != group or other is None or other in row.not_a_peer:
            continue
        ratio = ratio_to(result, other)
        if ratio is not None:
            ratios.append(ratio.median)
    return (statistics.geometric_mean(ratios), len(ratios)) if ratios else None


def commit() -> str:
    """The commit that is measured, with "+" if the tree has changes; "" outside a checkout."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", *arguments],
            cwd=FOLDER.parent,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    try:
        changed = git(
            "status", "--porcelain", "--untracked-files=no", "--", "../csrc", "../pyasync"
        )
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except FileNotFoundError:
        return ""


def package_version(name: str) -> str | None:
    """The version of a distribution, or None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def circumstances(loops: Sequence[str]) -> dict[str, Any]:
    """Where and of what figures come: machine, kernel, versions, commit, date."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "loops": {loop: loop_version(loop) for loop in loops},
        "packages": {name: package_version(name) for name in PACKAGES},
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
    }


def describe(about: dict[str, Any]) -> str:
    """The circumstances in one line."""
    loops = ", ".join(f"{name} {version}".strip() for name, version in about["loops"].items())
    packages = ", ".join(f"{name} {found}" for name, found in about["packages"].items() if found)
    return (
        f"{about['cpu']}, {about['cores']} cores; {about['system']}; CPython {about['python']}; "
        f"{loops}; {packages}; commit {about['commit'] or 'unknown'}; {about['date']}"
    )


def result_file(kind: str, quick: bool) -> Path:
    """Where a complete run of this Python version is kept."""
    version = ".".join(platform.python_version_tuple()[:2])
    return FOLDER / f"{kind}-{version}{'-quick' if quick else ''}.json"


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Writes a document, numbers rounded to six digits, the figures of a turn in one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(rounded(document), indent=1)
    path.write_text(INNERMOST.sub(lambda found: LINE_END.sub(" ", found[0]), text) + "\n")


def rounded(value: Any) -> Any:
    """The same document with floats cut to six significant digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return value


@dataclass(frozen=True)
class Document:
    """A run: how much effort, its circumstances, the loops left out and why, what was found."""

    quick: bool
    about: dict[str, Any]
    missing: dict[str, str]
    results: Results

    @property
    def loops(self) -> list[str]:
        """The loops that were measured, in the order of the table of loops."""
        return [loop for loop in LOOPS if loop in self.about["loops"]]

    def save(self, path: Path) -> None:
        """Writes it to `path`, to be read by load()."""
        rows = {
            key: {"rounds": found.rounds, "failed": found.failed}
            for key, found in self.results.items()
        }
        document = {"quick": self.quick, "about": self.about, "missing": self.missing, "rows": rows}
        write_document(path, document)


def load(path: Path) -> Document:
    """Reads what Document.save() wrote; rows that are no longer in the table are left out."""
    document = json.loads(path.read_text())
    results = {
        key: RowResult(row["rounds"], row["failed"])
        for key, row in document["rows"].items()
        if key in BENCH_ROWS
    }
    return Document(document["quick"], document["about"], document["missing"], results)
