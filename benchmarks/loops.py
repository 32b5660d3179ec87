"""The event loops that can be measured, by name.

The one table that every benchmark chooses from: a name, the module that must be installed, the
function of that module that makes a loop, and the distribution that carries the version. A module
is imported only in the process that runs its loop, so no loop can disturb another's figures.
"""

import argparse
import asyncio
import importlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import metadata

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

LOOPS = {
    "asyncio": ("asyncio", "SelectorEventLoop", None),
    "pyasync": ("pyasync", "new_event_loop", "pyasync-loop"),
    "uvloop": ("uvloop", "new_event_loop", "uvloop"),
    "zuvloop": ("zuvloop", "new_event_loop", "zuvloop"),
    "rsloop": ("rsloop", "new_event_loop", "rsloop"),
    "rloop": ("rloop", "new_event_loop", "rloop"),
}


def loop_factory(name: str) -> LoopFactory:
    """The factory of the loop called `name`; raises ImportError if its module is missing."""
    module, factory, _ = LOOPS[name]
    found: LoopFactory = getattr(importlib.import_module(module), factory)
    return found


def loop_version(name: str) -> str:
    """The version of the loop's distribution.

    Empty for asyncio, whose version is Python's own, and for a loop run from its source tree.
    """
    distribution = LOOPS[name][2]
    try:
        return "" if distribution is None else metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def why_unusable(name: str) -> str | None:
    """Why the loop called `name` cannot be used here, as an attempt in a new process says; None if
    it can."""
    module, factory, _ = LOOPS[name]
    tried = subprocess.run(
        [sys.executable, "-c", f"from {module} import {factory}"], stderr=subprocess.PIPE, text=True
    )
    if tried.returncode == 0:
        return None
    return (tried.stderr.strip().splitlines() or [f"status {tried.returncode}"])[-1]


def require_loops(names: Sequence[str]) -> None:
    """Exits with a message unless the loops named are different and can be imported here."""
    if len(set(names)) < len(names):
        raise SystemExit(f"a loop is named twice: {' '.join(names)}")
    for name in names:
        reason = why_unusable(name)
        if reason is not None:
            raise SystemExit(
                f"loop {name!r} cannot be used here, install {LOOPS[name][2]!r}: {reason}"
            )


def add_loops_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--loops NAME ...` to a benchmark's parser."""
    parser.add_argument(
        "--loops",
        nargs="+",
        choices=LOOPS,
        default=["asyncio", "pyasync"],
        metavar="LOOP",
        help=f"loops to measure, of {', '.join(LOOPS)} (default: asyncio pyasync)",
    )
