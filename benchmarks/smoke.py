"""make bench-smoke: instructions per operation, as a ratio to asyncio's, against recorded ratios.

    python -m benchmarks.smoke [--record] [--paths PATH ...]

Each path of smoke_paths.py runs under callgrind on asyncio and on pyasync, with N operations and
then with 2N; the difference is what N operations execute, as start and end cancel out. The ratio
of the two loops hardly depends on the machine, so it can be compared with the one recorded for
this Python version in smoke_ratios.json: more than 3% over it fails, and so does a path without a
record. `--record` writes the ratios measured now, for a change that is meant to cost something or
to save something.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.certificate import certificate_folder
from benchmarks.processes import Failed
from benchmarks.report import console, table
from benchmarks.smoke_paths import PATHS

RECORD = Path(__file__).with_name("smoke_ratios.json")
LIMIT = 1.03  # times the recorded ratio
NOTEWORTHY = 0.97  # below, the record should be made anew, so that it guards what was won
TIME_LIMIT = 300.0  # s for one loop
LOOPS = ("asyncio", "pyasync")
MARK = "getsid"  # the C function at whose calls callgrind begins to count anew
# What would move a count by a percent or two from one environment to the next: the order of sets,
# and how often the C library's allocator gives memory back to the system and fetches it again.
FIXED = {
    "PYTHONHASHSEED": "0",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_TOP_PAD_": "64000000",
}
MARKS = 3  # per path: after N operations to warm up, after N more, after 2N more


def segments(folder: str, loop: str, paths: Sequence[str]) -> list[int]:
    """Instructions that one loop's process executed between its marks, as callgrind counted."""
    program = ["-m", "benchmarks.smoke_paths", "--loop", loop, "--paths", *paths]
    program += ["--certificate", certificate_folder().name]
    out = Path(folder) / loop
    valgrind = ["valgrind", "--tool=callgrind", f"--dump-before={MARK}"]
    valgrind.append(f"--callgrind-out-file={out}")
    try:
        done = subprocess.run(
            [*valgrind, sys.executable, *program],
            env={**os.environ, **FIXED},
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{loop} did not end within {TIME_LIMIT:g} s") from None
    if done.returncode != 0:
        raise Failed(f"{loop} ended with status {done.returncode}:\n{done.stderr}")
    return [read_total(Path(f"{out}.{number + 1}")) for number in range(MARKS * len(paths))]


def read_total(path: Path) -> int:
    """The instructions of one of callgrind's files."""
    found = re.search(r"^totals: (\d+)$", path.read_text(), re.MULTILINE)
    if found is None:
        raise Failed(f"callgrind wrote no total into {path}")
    return int(found[1])


def measure(paths: list[str]) -> dict[str, dict[str, float]]:
    """Instructions per operation of each path on each loop; both loops run at the same time, as
    instructions do not depend on what else runs."""
    certificate_folder()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(LOOPS)) as pool:
        counted = list(pool.map(lambda loop: segments(folder, loop, paths), LOOPS))
    costs: dict[str, dict[str, float]] = {path: {} for path in paths}
    for loop, totals in zip(LOOPS, counted, strict=True):
        for index, path in enumerate(paths):
            _, once, twice = totals[index * MARKS : (index + 1) * MARKS]
            costs[path][loop] = (twice - once) / PATHS[path].count
    return costs


def python_version() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def read_records() -> dict[str, dict[str, float]]:
    """The recorded ratios by Python version and path."""
    records: dict[str, dict[str, float]] = json.loads(RECORD.read_text())
    return records


def write_record(ratios: dict[str, float]) -> None:
    """Records the ratios for this Python version; other versions and paths stay."""
    records = read_records() if RECORD.exists() else {}
    known = {**records.get(python_version(), {}), **ratios}
    records[python_version()] = {path: round(ratio, 4) for path, ratio in known.items()}
    ordered = {version: records[version] for version in sorted(records)}
    RECORD.write_text(json.dumps(ordered, indent=1) + "\n")


def judge(ratio: float, recorded: float | None) -> str:
    """ "ok", what is wrong, or what could be recorded."""
    if recorded is None:
        return "FAILED: not recorded"
    if ratio > recorded * LIMIT:
        return f"FAILED: {ratio / recorded - 1:+.1%}"
    if ratio < recorded * NOTEWORTHY:
        return f"ok, {ratio / recorded - 1:+.1%}: record it"
    return f"ok, {ratio / recorded - 1:+.1%}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smoke", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the ratios instead")
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS), metavar="PATH")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        raise SystemExit("the instruction counter 'valgrind' is not installed")
    measured = measure(options.paths)
    ratios = {path: costs["pyasync"] / costs["asyncio"] for path, costs in measured.items()}
    if options.record:
        write_record(ratios)
    recorded = read_records().get(python_version(), {}) if RECORD.exists() else {}
    title = f"Instructions per operation, CPython {platform.python_version()}"
    made = table(title, "path", *LOOPS, "ratio", "recorded", "")
    verdicts = {path: judge(ratio, recorded.get(path)) for path, ratio in ratios.items()}
    for path, ratio in ratios.items():
        known = f"{recorded[path]:.4f}" if path in recorded else "-"
        figures = [f"{measured[path][loop]:,.0f}" for loop in LOOPS]
        made.add_row(path, *figures, f"{ratio:.4f}", known, verdicts[path])
    console.print(made)
    return 1 if any(verdict.startswith("FAILED") for verdict in verdicts.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
