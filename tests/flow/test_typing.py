"""mypy --strict infers the result types of calls."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_mypy_infers_result_types(tmp_path):
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is in the dependency group check, not in test")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file", ""),
            *("--python-version", "3.11", "--cache-dir", str(tmp_path)),
            str(ROOT / "tests" / "flow" / "typed_calls.py"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
