"""The other event loops: installs those that have a wheel for this interpreter.

A peer without a wheel is left out, with the reason: building one takes compilers that a benchmark
should not ask for.
"""

import platform
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.loops import LOOPS, why_unusable

PEERS = ("uvloop", "zuvloop", "rsloop", "rloop")
INSTALL_LIMIT = 120.0  # s


def install(peer: str) -> str | None:
    """Installs the newest wheel of a peer; returns the reason if there is none."""
    distribution = LOOPS[peer][2]
    assert distribution is not None
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*command, "--only-binary", ":all:", distribution],
            capture_output=True,
            text=True,
            timeout=INSTALL_LIMIT,
        )
    except subprocess.TimeoutExpired:
        return f"pip did not end in {INSTALL_LIMIT:g} s"
    if done.returncode == 0:
        return None
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    if any("No matching distribution" in line for line in errors):
        return f"no wheel for CPython {platform.python_version()} on {platform.machine()}"
    return (errors or [f"pip ended with status {done.returncode}"])[-1]


def usable_loops(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The loops of `names` that can be used here, peers installed where a wheel exists; and the
    reason for each of the others."""
    usable, missing = [], {}
    for name in names:
        reason = why_unusable(name)
        if reason is not None and name in PEERS:
            reason = install(name) or why_unusable(name)
        if reason is None:
            usable.append(name)
        else:
            missing[name] = reason
    return usable, missing
