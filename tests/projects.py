"""The test suites of other projects, on asyncio and on pyasync.

    python -m tests.projects [PROJECT ...]

Each project's source distribution is fetched with pip into a temporary folder and its tests are run
by pytest twice there: as they are, and with pyasync.install() before. A test that fails on pyasync
and not on asyncio is printed, and the exit status is 1. What fails on both says something of the
machine (no IPv6, no name of its own), not of pyasync. Nothing is kept.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
PATIENCE = 1800  # seconds for one run of a suite
NOT_SOURCE = (".*", "build", "dist", "*.egg-info", "*.so", "__pycache__")
ON_PYASYNC = "import pyasync; pyasync.install()"
RUN_PYTEST = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"


@dataclass(frozen=True)
class Project:
    """What to fetch, what its tests need beside it, where they are, and options of pytest."""

    release: str
    needs: tuple[str, ...] = ()
    tests: tuple[str, ...] = ("tests",)
    options: tuple[str, ...] = ()


PROJECTS = {
    "aiohttp": Project(
        "aiohttp==3.14.5",
        ("pytest-mock", "pytest-codspeed", "trustme", "proxy.py", "re-assert", "freezegun")
        + ("time-machine", "blockbuster", "python-on-whales", "isal", "zlib-ng"),
        (
            "tests/test_client_functional.py",
            "tests/test_client_ws_functional.py",
            "tests/test_connector.py",
            "tests/test_web_functional.py",
            "tests/test_web_sendfile_functional.py",
            "tests/test_web_websocket_functional.py",
        ),
        ("-p", "no:aiohttp"),
    ),
    "aiojobs": Project("aiojobs==1.4.0", ("pytest-aiohttp",), options=("-o", "asyncio_mode=auto")),
    "aioquic": Project("aioquic==1.7.2", ("cryptography", "pyopenssl")),
    "anyio": Project(
        "anyio==4.16.0",
        ("trio", "trustme", "psutil", "hypothesis", "pytest-mock", "blockbuster", "exceptiongroup"),
        options=("-p", "no:asyncio", "-p", "no:aiohttp", "-k", "asyncio and not uvloop"),
    ),
    "asgiref": Project("asgiref==3.13.0"),
    "janus": Project("janus==2.0.0", ("pytest-codspeed",)),
    "starlette": Project(
        "starlette==1.10.0",
        ("httpx", "httpx2", "itsdangerous", "jinja2", "python-multipart", "pyyaml", "trio"),
        options=("--ignore", "tests/middleware/test_opentelemetry.py"),
    ),
    "uvicorn": Project(
        "uvicorn==0.54.0",
        ("httptools", "wsproto", "websockets", "httpx", "a2wsgi", "watchfiles", "pyyaml", "trustme")
        + ("pytest-mock", "cryptography", "python-dotenv"),
    ),
}


def call(*command: str | Path) -> None:
    """Runs a command that must succeed."""
    subprocess.run(command, check=True)


def set_up(folder: Path, projects: list[Project]) -> Path:
    """The python of a new environment with pyasync and all that the projects' tests need."""
    call(sys.executable, "-m", "venv", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    needs = {need for project in projects for need in (project.release, *project.needs)}
    tools = ("pytest", "pytest-asyncio", "pytest-timeout")
    source = folder / "pyasync"  # building in this tree would leave files that pytest finds
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    build_tools = ("setuptools", "wheel", "hatchling", "hatch-vcs", "setuptools-scm", "flit-core")
    call(python, "-m", "pip", "install", "-q", *tools, *build_tools, source, *sorted(needs))
    return python


def fetch(python: Path, folder: Path, project: Project) -> Path:
    """The unpacked source distribution."""
    target = folder / project.release
    options = ("--no-deps", "--no-binary", ":all:", "--no-build-isolation")
    call(python, "-m", "pip", "download", "-q", *options, "-d", target, project.release)
    archive = next(target.glob("*.tar.gz"))
    shutil.unpack_archive(archive, target, filter="data")
    return target / archive.name.removesuffix(".tar.gz")


def failures(python: Path, source: Path, project: Project, first: str) -> tuple[int, set[str]]:
    """How many tests were run, with `first` executed before, and the names of those that failed."""
    report = source / "report.xml"
    options = ("-q", "--timeout=60", "-o", "addopts=", "-o", "filterwarnings=default")
    command = [str(python), "-c", f"{first}\n{RUN_PYTEST}", *options, f"--junitxml={report}"]
    command += [*project.options, *project.tests]
    ended = subprocess.run(command, cwd=source, stdout=subprocess.DEVNULL, timeout=PATIENCE)
    if not report.exists():
        raise SystemExit(f"{project.release}: pytest ended with {ended.returncode}, no report")
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    report.unlink()
    bad = {
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    }
    return len(cases), bad


def main() -> int:
    """Runs the projects named, or all; 1 when something fails on pyasync alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("projects", nargs="*", metavar="PROJECT", help=", ".join(PROJECTS))
    names = parser.parse_args().projects or list(PROJECTS)
    unknown = sorted(set(names) - set(PROJECTS))
    if unknown:
        parser.error(f"no such project: {', '.join(unknown)}; there are {', '.join(PROJECTS)}")
    found = 0
    with tempfile.TemporaryDirectory(prefix="pyasync-projects-") as temporary:
        folder = Path(temporary)
        python = set_up(folder, [PROJECTS[name] for name in names])
        for name in names:
            source = fetch(python, folder, PROJECTS[name])
            _, on_asyncio = failures(python, source, PROJECTS[name], "")
            count, on_pyasync = failures(python, source, PROJECTS[name], ON_PYASYNC)
            alone = sorted(on_pyasync - on_asyncio)
            found += len(alone)
            print(f"{name:10} {count} tests, {len(on_asyncio)} fail on asyncio, ", end="")
            print(f"{len(on_pyasync)} on pyasync, {len(alone)} on pyasync alone", flush=True)
            for test in alone:
                print(f"    {test}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
