"""The pytest plugin: each kind of asyncio test runs on pyasync when asked and not otherwise.

Each test writes a small suite and runs pytest on it in a process of its own. The suites assert the
class of the running loop themselves: EXPECTED in their environment names it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PREAMBLE = """
    import asyncio, os, unittest
    import pytest

    def check(loop=None):
        kind = type(loop or asyncio.get_running_loop())
        assert kind.__module__.split(".")[0] == os.environ["EXPECTED"], kind
"""

# Older versions of pytest-asyncio do not know the loop scope.
INI = """
    [pytest]
    asyncio_default_fixture_loop_scope = function
    filterwarnings =
        error
        ignore::pytest.PytestConfigWarning
        ignore:.*policy:DeprecationWarning
"""

PYTEST_ASYNCIO = """
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def resource():
        check()
        await asyncio.sleep(0)
        yield "resource"
        check()

    @pytest.mark.asyncio
    async def test_coroutine(resource):
        check()
        assert resource == "resource"

    @pytest.mark.asyncio
    class TestMethods:
        async def test_method(self):
            check()
"""

ANYIO = """
    @pytest.fixture
    async def resource(anyio_backend):
        check()
        yield anyio_backend
        check()

    @pytest.mark.anyio
    async def test_coroutine(resource, anyio_backend_name):
        check()
        assert anyio_backend_name == "asyncio"
"""

UNITTEST = """
    class Case(unittest.IsolatedAsyncioTestCase):
        def setUp(self):
            check(asyncio.get_event_loop())

        async def asyncSetUp(self):
            check()

        async def test_method(self):
            check()

        async def asyncTearDown(self):
            check()

    def test_no_loop_is_left_behind():
        Case("test_method").run()
        with pytest.raises(RuntimeError):
            asyncio.get_event_loop_policy().get_event_loop()
"""

SUITES = {"pytest-asyncio": (PYTEST_ASYNCIO, 2), "anyio": (ANYIO, 1), "unittest": (UNITTEST, 2)}


def run_pytest(folder, *arguments, python=sys.executable, expected="pyasync", env=()):
    """Run pytest in the folder, return its passed and failed counts and its output."""
    done = subprocess.run(
        [python, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, "EXPECTED": expected, "PYTEST_ADDOPTS": "", **dict(env)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
    )
    counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    return counts, done.stdout


def write_suite(folder, body, ini="", conftest=""):
    (folder / "pytest.ini").write_text(textwrap.dedent(INI) + ini)
    (folder / "conftest.py").write_text(textwrap.dedent(PREAMBLE + conftest))
    suite = textwrap.dedent(PREAMBLE + body)
    (folder / "test_suite.py").write_text(suite)


@pytest.mark.parametrize("kind", SUITES)
@pytest.mark.parametrize("how", ["option", "ini"])
def test_suite_runs_on_pyasync_when_asked(tmp_path, kind, how):
    body, tests = SUITES[kind]
    write_suite(tmp_path, body, ini="pyasync = true\n" if how == "ini" else "")
    counts, output = run_pytest(tmp_path, *(["--pyasync"] if how == "option" else []))
    assert counts == {"passed": tests}, output
    assert "\npyasync: " in output


@pytest.mark.parametrize("kind", SUITES)
def test_suite_runs_on_asyncio_when_not_asked(tmp_path, kind):
    body, tests = SUITES[kind]
    write_suite(tmp_path, body)
    counts, output = run_pytest(tmp_path, expected="asyncio")
    assert counts == {"passed": tests}, output
    assert "\npyasync: " not in output


def test_nothing_is_imported_when_not_asked(tmp_path):
    body = """
    def test_modules():
        import sys
        assert "_pyasync_pytest" in sys.modules
        assert "pyasync" not in sys.modules
    """
    (tmp_path / "test_suite.py").write_text(textwrap.dedent(body))
    counts, output = run_pytest(tmp_path)
    assert counts == {"passed": 1}, output


def test_asyncio_backend_named_by_the_suite_runs_on_pyasync(tmp_path):
    conftest = """
    @pytest.fixture(scope="session")
    def anyio_backend():
        return "asyncio"
"""
    write_suite(tmp_path, ANYIO, conftest=conftest)
    counts, output = run_pytest(tmp_path, "--pyasync")
    assert counts == {"passed": 1}, output


def test_options_of_the_anyio_backend_are_kept(tmp_path):
    conftest = """
    @pytest.fixture(params=[True, False])
    def anyio_backend(request):
        return "asyncio", {"debug": request.param}
"""
    body = """
    @pytest.mark.anyio
    async def test_debug(request):
        check()
        wanted = request.node.callspec.params["anyio_backend"]
        assert asyncio.get_running_loop().get_debug() is wanted
"""
    write_suite(tmp_path, body, conftest=conftest)
    counts, output = run_pytest(tmp_path, "--pyasync")
    assert counts == {"passed": 2}, output


OWN_LOOPS = {
    "pytest-asyncio": """
    def pytest_asyncio_loop_factories():
        return {"own": asyncio.SelectorEventLoop}
""",
    "anyio": """
    @pytest.fixture
    def anyio_backend():
        return "asyncio", {"loop_factory": asyncio.SelectorEventLoop}
""",
}


@pytest.mark.parametrize("kind", OWN_LOOPS)
def test_loop_named_by_the_suite_is_kept(tmp_path, kind):
    body, tests = SUITES[kind]
    write_suite(tmp_path, body, conftest=OWN_LOOPS[kind])
    counts, output = run_pytest(tmp_path, "--pyasync", expected="asyncio")
    assert counts == {"passed": tests}, output


@pytest.mark.skipif(sys.version_info < (3, 13), reason="test cases have a loop_factory from 3.13")
def test_loop_named_by_the_test_case_is_kept(tmp_path):
    body = """
    class Case(unittest.IsolatedAsyncioTestCase):
        loop_factory = asyncio.SelectorEventLoop

        async def test_method(self):
            check()
"""
    write_suite(tmp_path, body)
    counts, output = run_pytest(tmp_path, "--pyasync", expected="asyncio")
    assert counts == {"passed": 1}, output


# Each way of naming a loop that pytest-asyncio had before 1.4, with a pytest of its time.
DEPRECATED_SINCE = "    ignore::DeprecationWarning\n"  # what they call of asyncio and pytest
OLDER = {
    "0.21.2": "pytest==7.4.4",
    "0.23.8": "pytest==8.2.2",
    "1.3.0": "pytest==8.4.2",
}


@pytest.mark.slow  # makes a virtual environment and installs into it
@pytest.mark.timeout(180)
@pytest.mark.parametrize("version", OLDER)
def test_older_pytest_asyncio(tmp_path, version):
    environment = tmp_path / "venv"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    packages = [f"pytest-asyncio=={version}", OLDER[version]]
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", *packages]
    done = subprocess.run(install, capture_output=True, text=True, timeout=120)
    if done.returncode != 0 and not os.environ.get("CI"):
        pytest.skip(f"no package index to install {packages} from: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    suite = tmp_path / "suite"
    suite.mkdir()
    write_suite(suite, PYTEST_ASYNCIO, ini=DEPRECATED_SINCE)
    for arguments, loop in ([["--pyasync"], "pyasync"], [[], "asyncio"]):
        counts, output = run_pytest(
            suite,
            "-p",
            "_pyasync_pytest",
            *arguments,
            python=python,
            expected=loop,
            env={"PYTHONPATH": str(ROOT)},
        )
        assert counts == {"passed": 2}, output


def test_imported_before_pytest(tmp_path):
    """pytest warns of modules of a plugin's distribution that it can't rewrite any more."""
    installed = tmp_path / "installed"
    (installed / "pyasync").mkdir(parents=True)
    (installed / "pyasync" / "__init__.py").write_text("")  # ours is found before it
    (installed / "plugin.py").write_text("")
    distribution = installed / "plugin-1.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Name: plugin\nVersion: 1\n")
    (distribution / "entry_points.txt").write_text("[pytest11]\nplugin = plugin\n")
    (distribution / "RECORD").write_text("plugin.py,,\npyasync/__init__.py,,\n")
    (tmp_path / "test_suite.py").write_text("def test_nothing(): pass")
    options = ["-q", "-W", "error::pytest.PytestAssertRewriteWarning"]
    start = f"import pyasync, pytest; raise SystemExit(pytest.main({options}))"
    done = subprocess.run(
        [sys.executable, "-c", start],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{installed}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout
