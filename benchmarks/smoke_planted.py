"""Shows that make bench-smoke sees what it should: an allocation planted into every task switch.

    python -m benchmarks.smoke_planted

A throw-away copy of the sources gets one more allocation in each step of a task, is built, and is
counted. Ends with status 0 if bench-smoke fails on it because of the task switch, 1 if it passes.
Run it with the interpreter of `tools/setup.sh smoke`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WANTED = ("csrc", "pyasync", "benchmarks", "setup.py", "pyproject.toml", "README.md", "LICENSE")
UNWANTED = shutil.ignore_patterns("*.so", "__pycache__")
STEP = Path("csrc", "sched", "step.c")
FUNCTION = "\npa_task_step("
PLANTED = "\n    PyMem_Free(PyMem_Malloc(64));"


def copy_sources(target: Path) -> None:
    """The sources that a build takes, without anything built."""
    for name in WANTED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=UNWANTED)
        else:
            shutil.copy(ROOT / name, target / name)


def plant(path: Path) -> None:
    """Puts the allocation at the beginning of the function that steps a task."""
    before, function, body = path.read_text().partition(FUNCTION)
    if not function:
        raise SystemExit(f"{path} has no function {FUNCTION.strip()}")
    head, brace, rest = body.partition("\n{")
    path.write_text(before + function + head + brace + PLANTED + rest)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)
        copy_sources(target)
        plant(target / STEP)
        environment = {**os.environ, "PYTHONPATH": folder}
        build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        subprocess.run(build, cwd=target, env=environment, check=True)
        smoke = [sys.executable, "-m", "benchmarks.smoke", "--paths", "task_switch", "call_soon"]
        done = subprocess.run(smoke, cwd=target, env=environment, stdout=subprocess.PIPE, text=True)
    print(done.stdout)
    red = done.returncode == 1 and any(
        "task_switch" in line and "FAILED: +" in line for line in done.stdout.splitlines()
    )
    print("seen" if red else "NOT seen: an allocation in every task switch passes")
    return 0 if red else 1


if __name__ == "__main__":
    raise SystemExit(main())
