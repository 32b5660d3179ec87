"""Fixtures: the loop under test, and the proof that a test leaves nothing behind.

A test takes `loop` (one loop, closed afterwards), `new_loop` (its factory), `snippet` (a fresh
interpreter) or `same_as_asyncio`; each of them runs the test once per loop of support.LOOPS.
`async def` bodies run on `loop`. After every test no libuv handle, descriptor, task, log record
of asyncio or unraisable exception may be left.
"""

from __future__ import annotations

import functools
import gc
import inspect
import logging
import shutil
import socket
import ssl
import subprocess

import pytest

from tests.early_asyncio import mistake_in
from tests.support import (
    LOOPS,
    AsyncioLog,
    finish,
    live_handles,
    open_descriptors,
    run_snippet,
)


def pytest_report_header():
    return "loops: " + ", ".join(LOOPS)


def pytest_collection_finish():
    """Keep everything imported so far out of the collections that follow every test."""
    for factory in LOOPS.values():  # what a first loop opens once per process is no leak
        factory().close()
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc):
    """Run the loop tests of modules that say BOTH_MODES = True without and with debug mode."""
    if getattr(metafunc.module, "BOTH_MODES", False) and "debug" in metafunc.fixturenames:
        metafunc.parametrize("debug", [False, True], ids=["plain", "debug"], indirect=True)


def pytest_collection_modifyitems(items):
    """Skip what asyncio itself gets wrong on the running Python."""
    for item in items:
        module = getattr(item, "module", None)  # a doctest has none
        mistake = module and mistake_in(module.__name__, item.name)
        if mistake:
            item.add_marker(pytest.mark.skip(reason=mistake))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run `async def` bodies that ask for `loop` on it."""
    loop = pyfuncitem.funcargs.get("loop")
    if loop is None or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    loop.run_until_complete(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture
def asyncio_log():
    """What asyncio logs from WARNING up; a test takes what it expects, the rest is an error."""
    handler = AsyncioLog()
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def nothing_left(asyncio_log):
    """Check after the test and its other fixtures that nothing of it is left."""
    before = open_descriptors()
    yield
    gc.collect()
    assert asyncio_log.take() == []
    assert live_handles() == 0
    opened = {fd: name for fd, name in open_descriptors().items() if fd not in before}
    assert opened == {}


@pytest.fixture(params=list(LOOPS))
def loop_name(request):
    """Name of the loop under test."""
    return request.param


@pytest.fixture
def new_loop(loop_name, nothing_left):
    """Factory of the loop under test; the test closes what it makes."""
    return LOOPS[loop_name]


@pytest.fixture
def debug(request):
    """Whether `loop` is in debug mode: parametrised by BOTH_MODES of the module."""
    return getattr(request, "param", False)


def set_mode(loop, debug):
    """Switch debug mode; a machine under load must not make callbacks of a test look slow."""
    loop.set_debug(debug)
    if debug:
        loop.slow_callback_duration = 60


@pytest.fixture
def loop(new_loop, debug):
    """A loop under test that does not run yet; closed after the test."""
    loop = new_loop()
    set_mode(loop, debug)
    yield loop
    left = finish(loop)
    assert left == [], "tasks left behind"


@pytest.fixture
def snippet(loop_name, nothing_left):
    """run_snippet() for the loop under test."""
    return functools.partial(run_snippet, loop_name)


@pytest.fixture
def same_as_asyncio(new_loop, debug):
    """Run a body on asyncio and on the loop under test, require equal results, return them.

    The body is a function or a coroutine function that takes the loop.
    """

    def compare(body):
        results = []
        for factory in (LOOPS["asyncio"], new_loop):
            loop = factory()
            set_mode(loop, debug)
            try:
                result = body(loop)
                if inspect.iscoroutine(result):
                    result = loop.run_until_complete(result)
            finally:
                left = finish(loop)
            assert left == [], "tasks left behind"
            results.append(result)
        expected, got = results
        assert got == expected
        return got

    return compare


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Files of a fresh self-signed certificate for localhost and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command makes the certificate and is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    paths = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        + ["-nodes", "-days", "30", "-subj", "/CN=localhost", "-out", paths[0], "-keyout", paths[1]]
        + ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )
    return paths


@pytest.fixture
def contexts(certificate):
    """(context of the server, context of the client that trusts it)."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*certificate)
    client = ssl.create_default_context(cafile=certificate[0])
    return server, client


@pytest.fixture
def pair():
    """Two connected sockets that do not block."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield left, right
    left.close()
    right.close()
