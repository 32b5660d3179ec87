"""make bench-smoke: instructions per operation, as a ratio to asyncio's, against recorded ratios.

    python -m benchmarks.smoke [--record] [--paths PATH ...]

Each path of smoke_paths.py runs under callgrind on asyncio and on pyasync, once with N operations
and once with 2N; the difference is what N operations execute, as start-up cancels out. The ratio
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.certificate import certificate_folder
from benchmarks.processes import Failed
from benchmarks.report import console, table
from benchmarks.smoke_paths import PATHS

RECORD = Path(__file__).with_name("smoke_ratios.json")
LIMIT = 1.03  # times the recorded ratio
NOTEWORTHY = 0.97  # below, the record should be made anew, so that it guards what was won
TIME_LIMIT = 150.0  # s for one run
LOOPS = ("asyncio", "pyasync")
COUNTS = {
    "task_switch": 10_000,
    "create_and_await": 3_000,
    "call_soon": 10_000,
    "timer": 3_000,
    "echo": 600,
    "tls_echo": 300,
}

Run = tuple[str, str, int]  # loop, path, count


def count_instructions(run: Run) -> int:
    """Instructions that one process executes, as callgrind counts them."""
    loop, path, count = run
    program = ["-m", "benchmarks.smoke_paths", "--loop", loop, "--path", path]
    program += ["--count", str(count), "--certificate", certificate_folder().name]
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    try:
        done = subprocess.run(
            [*valgrind, sys.executable, *program],
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{path} on {loop} did not end within {TIME_LIMIT:g} s") from None
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or counted is None:
        raise Failed(f"{path} on {loop} ended with status {done.returncode}:\n{done.stderr}")
    return int(counted[1])


def measure(paths: list[str]) -> dict[str, dict[str, float]]:
    """Instructions per operation of each path on each loop; runs as many at once as there are
    processors, as instructions do not depend on what else runs."""
    certificate_folder()
    runs = [
        (loop, path, COUNTS[path] * length) for path in paths for loop in LOOPS for length in (1, 2)
    ]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        counts = dict(zip(runs, pool.map(count_instructions, runs), strict=True))

    def per_operation(loop: str, path: str) -> float:
        count = COUNTS[path]
        return (counts[loop, path, 2 * count] - counts[loop, path, count]) / count

    return {path: {loop: per_operation(loop, path) for loop in LOOPS} for path in paths}


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
