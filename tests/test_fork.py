"""fork(): the child may not use its parent's loop, makes its own, and the parent goes on."""

import pytest

# From Python 3.12 a fork of a process with several threads warns.
QUIET = ("-W", "ignore::DeprecationWarning")

IN_CHILD = """
def in_child(function):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException as exc:
            print("child failed:", type(exc).__name__, exc)
        finally:
            sys.stdout.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    print("child ended with", os.waitstatus_to_exitcode(status))
"""


def test_a_child_makes_a_loop_of_its_own(snippet):
    out = snippet(
        IN_CHILD
        + """
loop = new_loop()
loop.run_until_complete(asyncio.sleep(0))
def child():
    mine = new_loop()
    print(mine.run_until_complete(asyncio.sleep(0.001, "child")))
    mine.close()
in_child(child)
print(loop.run_until_complete(asyncio.sleep(0.001, "parent")))
loop.close()
""",
        options=QUIET,
    )
    assert out == "child\nchild ended with 0\nparent\n"


def test_a_child_forked_by_a_callback_has_no_running_loop(snippet):
    out = snippet(
        IN_CHILD
        + """
loop = new_loop()
def child():
    print(asyncio._get_running_loop())
    mine = new_loop()
    print(mine.run_until_complete(asyncio.sleep(0.001, "child")))
    mine.close()
async def main():
    in_child(child)
    await asyncio.sleep(0.001)
    return "parent"
print(loop.run_until_complete(main()))
loop.close()
""",
        options=QUIET,
    )
    assert out == "None\nchild\nchild ended with 0\nparent\n"


def test_the_parents_loop_in_the_child_is_a_clear_error(snippet, loop_name):
    if loop_name == "asyncio":
        pytest.skip("asyncio does not notice; parent and child then share one epoll descriptor")
    out = snippet(
        IN_CHILD
        + """
loop = new_loop()
loop.run_until_complete(asyncio.sleep(0.001))
def child():
    for use in (
        loop.run_forever,
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.add_reader(0, print),
    ):
        try:
            use()
        except RuntimeError as exc:
            print("fork" in str(exc))
        else:
            print("no error from", use)
in_child(child)
loop.close()
""",
        options=QUIET,
    )
    lines = out.split("\n")
    assert lines[0] == "True" and "False" not in lines
    assert lines[-2] == "child ended with 0"


def test_a_callback_that_forks_goes_on_in_the_child(snippet, loop_name):
    """With the parent's loop running, of which it may not watch anything new."""
    if loop_name == "asyncio":
        pytest.skip("asyncio does not notice; parent and child then share one epoll descriptor")
    out = snippet(
        IN_CHILD
        + """
loop = new_loop()
listener = socket.create_server(("127.0.0.1", 0))
address = listener.getsockname()
def child():
    before = os.listdir("/proc/self/fd")
    for options in ({}, {"family": socket.AF_INET}):
        try:
            loop.create_connection(asyncio.Protocol, *address, **options).send(None)
        except RuntimeError as exc:
            print("forked child" in str(exc))
    print(os.listdir("/proc/self/fd") == before)
async def main():
    in_child(child)
    transport, _ = await loop.create_connection(asyncio.Protocol, *address)
    transport.abort()
    await asyncio.sleep(0.001)
    in_child(lambda: in_child(child))
loop.run_until_complete(main())
loop.close()
listener.close()
""",
        options=QUIET,
    )
    assert out.split() == (
        ["True"] * 3
        + "child ended with 0".split()
        + ["True"] * 3
        + "child ended with 0".split() * 2
    )


def test_closing_the_parents_loop_in_the_child_harms_nobody(snippet):
    out = snippet(
        IN_CHILD
        + """
loop = new_loop()
left, right = socket.socketpair()
left.setblocking(False)
seen = []
loop.add_reader(left, lambda: (seen.append(left.recv(10)), loop.stop()))
loop.run_until_complete(asyncio.sleep(0.001))
def child():
    global loop
    try:
        loop.close()
    except RuntimeError:
        pass
    loop = None
    gc.collect()
in_child(child)
loop.call_later(0.01, right.send, b"data")
loop.run_forever()
print(seen)
loop.remove_reader(left)
loop.close()
""",
        options=QUIET,
        stderr=None,
    )
    if "[b'data']" not in out:
        raise AssertionError(out)


def test_the_parent_keeps_signals_and_threads_after_a_fork(snippet):
    out = snippet(
        IN_CHILD
        + """
loop = new_loop()
loop.add_signal_handler(signal.SIGUSR1, print, "signal")
async def main():
    in_child(lambda: None)
    signal.raise_signal(signal.SIGUSR1)
    print(await asyncio.to_thread(sum, [1, 2]))
    await asyncio.sleep(0.01)
loop.run_until_complete(main())
loop.close()
""",
        options=QUIET,
    )
    assert sorted(out.splitlines()) == ["3", "child ended with 0", "signal"]


def test_a_fork_in_another_thread_never_hangs(snippet):
    """An at-fork handler that takes the GIL or a lock of the loop would hang here."""
    out = snippet(
        """
        loop = new_loop()
        def forks():
            for _ in range(20):
                pid = os.fork()
                if pid == 0:
                    os._exit(0)
                os.waitpid(pid, 0)
        async def main():
            job = loop.run_in_executor(None, forks)
            while not job.done():
                await asyncio.sleep(0.0001)
                loop.call_soon_threadsafe(int)
            await job
        loop.run_until_complete(main())
        print("alive")
        loop.close()
        """,
        options=QUIET,
    )
    assert out == "alive\n"


def test_multiprocessing_fork_children_run_loops(snippet):
    out = snippet(
        """
        import multiprocessing
        def child(number):
            loop = new_loop()
            async def main():
                await asyncio.sleep(0.001)
                return number * 2
            try:
                return loop.run_until_complete(main())
            finally:
                loop.close()
        loop = new_loop()
        loop.run_until_complete(asyncio.sleep(0))
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(pool.map(child, range(5)))
        loop.close()
        """,
        options=QUIET,
    )
    assert out == "[0, 2, 4, 6, 8]\n"


def test_subprocess_while_the_loop_runs(snippet):
    out = snippet(
        """
        import subprocess
        loop = new_loop()
        async def main():
            command = [sys.executable, "-c", "print('child')"]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True)
            return done.stdout
        print(loop.run_until_complete(main()))
        loop.close()
        """
    )
    assert out == "b'child\\n'\n"
