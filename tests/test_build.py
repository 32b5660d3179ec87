"""Building without what it needs ends in one message that names it and the packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = ["Debian, Ubuntu", "Fedora", "Alpine", "macOS"]


def failed_build(**environment: str) -> str:
    """What a build in this environment prints before it ends."""
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", os.devnull],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
    )
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    for system in SYSTEMS:
        assert f"\n  {system}" in done.stdout
    assert "libuv1-dev" in done.stdout
    assert "libuv-devel" in done.stdout
    return done.stdout


def missing(output: str) -> list[str]:
    return [line[4:] for line in output.splitlines() if line.startswith("  - ")]


def test_no_compiler_and_no_pkg_config():
    assert missing(failed_build(CC="no-such-cc", PKG_CONFIG="no-such-pkg-config")) == [
        "a C compiler ('no-such-cc' is not on PATH)",
        "pkg-config ('no-such-pkg-config' is not on PATH)",
        "libuv 1.44 or newer (pkg-config is needed to find it)",
    ]


@pytest.mark.parametrize("version", [None, "1.43.9"])
def test_no_libuv_that_is_new_enough(tmp_path, version):
    found = "pkg-config does not find libuv"
    if version:
        (tmp_path / "libuv.pc").write_text(f"Name: libuv\nDescription: -\nVersion: {version}\n")
        found = f"pkg-config finds {version}"
    output = failed_build(PKG_CONFIG_LIBDIR=str(tmp_path), PKG_CONFIG_PATH="")
    assert missing(output) == [f"libuv 1.44 or newer ({found})"]


def test_no_python_headers(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sysconfig\n"
        "paths = sysconfig.get_path\n"
        "def get_path(name, *args, **kwargs):\n"
        "    return '/nowhere' if name == 'include' else paths(name, *args, **kwargs)\n"
        "sysconfig.get_path = get_path\n"
    )
    (line,) = missing(failed_build(PYTHONPATH=str(tmp_path)))
    assert line.startswith("the headers of Python 3.")
    assert "/nowhere/Python.h" in line
