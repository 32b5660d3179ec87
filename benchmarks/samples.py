"""Where a process spends its CPU time: samples that perf takes of it, by the file of the code."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

from benchmarks.processes import Failed, load_core, pinned

FREQUENCY = 4000  # samples per second of CPU time
SHARE = re.compile(r"^ *([\d.]+)% +(\S+)", re.MULTILINE)


def shares_of(report: str) -> dict[str, float]:
    """The shares (0..1) by the name of the file, of perf's report by `dso`."""
    return {name: float(percent) / 100 for percent, name in SHARE.findall(report)}


def run(command: Sequence[str]) -> str:
    """What perf prints; raises Failed with what it says of itself if it fails."""
    done = subprocess.run(pinned(command, load_core()), capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"perf ended with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def code_share(pid: int, seconds: float, files: Sequence[str]) -> float:
    """The share (0..1) of the CPU time of a process, in the next `seconds`, that went to code in
    files whose names begin with one of `files`. Raises Failed without perf or without samples."""
    if shutil.which("perf") is None:
        raise Failed("the profiler 'perf' is not installed (Debian: linux-perf)")
    with tempfile.NamedTemporaryFile(prefix="bench-perf-") as data:
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY), "-o", data.name]
        run([*record, "-p", str(pid), "--", "sleep", str(seconds)])
        report = ["perf", "report", "-q", "--stdio", "-i", data.name, "--sort", "dso"]
        shares = shares_of(run(report))
    if not shares:
        raise Failed("perf took no samples: the server had nothing to do")
    return sum(share for name, share in shares.items() if name.startswith(tuple(files)))
