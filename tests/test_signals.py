"""Signals and Ctrl-C: handlers of the loop, handlers of the program, the wake-up descriptor."""

import pytest

from tests.support import error_of


def test_a_handler_runs_in_the_loop(snippet):
    out = snippet(
        """
        loop = new_loop()
        def handler(*args):
            print(args, asyncio.get_running_loop() is loop)
            loop.stop()
        loop.add_signal_handler(signal.SIGUSR1, handler, 1, "two")
        loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        loop.run_forever()
        for _ in range(2):
            print(loop.remove_signal_handler(signal.SIGUSR1))
        print(signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL)
        loop.close()
        """
    )
    assert out == "(1, 'two') True\nTrue\nFalse\nTrue\n"


def test_a_signal_wakes_a_sleeping_loop(snippet):
    out = snippet(
        """
        loop = new_loop()
        loop.add_signal_handler(signal.SIGALRM, loop.stop)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        loop.run_forever()
        print("woken")
        loop.close()
        """
    )
    assert out == "woken\n"


def test_every_signal_of_a_burst_of_kinds_is_seen(snippet):
    out = snippet(
        """
        loop = new_loop()
        seen = []
        kinds = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH]
        def handler(kind):
            seen.append(kind)
            if len(seen) == len(kinds):
                loop.stop()
        for kind in kinds:
            loop.add_signal_handler(kind, handler, kind)
        for kind in kinds:
            loop.call_soon(signal.raise_signal, kind)
        loop.run_forever()
        print(seen == kinds)
        loop.close()
        """
    )
    assert out == "True\n"


def test_a_handler_is_replaced_and_removed(snippet):
    out = snippet(
        """
        loop = new_loop()
        loop.add_signal_handler(signal.SIGINT, print, "first")
        loop.add_signal_handler(signal.SIGINT, print, "second")
        loop.call_soon(signal.raise_signal, signal.SIGINT)
        loop.run_until_complete(asyncio.sleep(0.01))
        print(loop.remove_signal_handler(signal.SIGINT))
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        loop.close()
        """
    )
    assert out == "second\nTrue\nTrue\n"


def test_close_removes_the_handlers(snippet):
    out = snippet(
        """
        loop = new_loop()
        loop.add_signal_handler(signal.SIGINT, print)
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.close()
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        print(signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL)
        print(signal.set_wakeup_fd(-1))
        """
    )
    assert out == "True\nTrue\n-1\n"


def test_errors(same_as_asyncio):
    import signal

    async def coroutine_function():
        pass

    def body(loop):
        add, remove = loop.add_signal_handler, loop.remove_signal_handler
        return [
            error_of(add, "SIGINT", print),
            error_of(add, 100, print),
            error_of(add, -1, print),
            error_of(remove, 100),
            error_of(remove, "SIGINT"),
            error_of(add, signal.SIGUSR1, coroutine_function),
            remove(signal.SIGUSR1),
        ]

    results = same_as_asyncio(body)
    assert [kind for kind, text in results[:6]] == [
        "TypeError",
        "ValueError",
        "ValueError",
        "ValueError",
        "TypeError",
        "TypeError",
    ]


def test_uncatchable_signals(snippet):
    out = snippet(
        """
        loop = new_loop()
        for kind in signal.SIGKILL, signal.SIGSTOP:
            try:
                loop.add_signal_handler(kind, print)
            except RuntimeError as exc:
                print(exc)
        loop.close()
        """
    )
    assert out == "sig 9 cannot be caught\nsig 19 cannot be caught\n"


def test_handlers_need_the_main_thread(snippet):
    out = snippet(
        """
        def thread():
            loop = new_loop()
            try:
                loop.add_signal_handler(signal.SIGUSR1, print)
            except RuntimeError as exc:
                print("RuntimeError", "main thread" in str(exc))
            loop.run_until_complete(asyncio.sleep(0.001))
            loop.close()
        t = threading.Thread(target=thread)
        t.start()
        t.join()
        """
    )
    assert out == "RuntimeError True\n"


def test_add_signal_handler_on_a_closed_loop(snippet):
    out = snippet(
        """
        loop = new_loop()
        loop.close()
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except RuntimeError as exc:
            print(exc)
        """
    )
    assert out == "Event loop is closed\n"


def test_ctrl_c_interrupts_a_loop_that_polls(snippet):
    out = snippet(
        """
        loop = new_loop()
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        start = time.monotonic()
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            print("interrupted", time.monotonic() - start < 5, loop.is_running())
        print(loop.run_until_complete(asyncio.sleep(0.001, "usable")))
        loop.close()
        """
    )
    assert out == "interrupted True False\nusable\n"


def test_ctrl_c_interrupts_a_callback_that_computes(snippet):
    out = snippet(
        """
        loop = new_loop()
        def compute():
            while True:
                pass
        loop.call_later(0, compute)
        loop.call_soon(lambda: None)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            print("interrupted")
        loop.close()
        """
    )
    assert out == "interrupted\n"


def test_ctrl_c_interrupts_a_loop_that_never_polls_empty(snippet):
    out = snippet(
        """
        loop = new_loop()
        def chain():
            loop.call_soon(chain)
        loop.call_soon(chain)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            print("interrupted")
        loop.close()
        """
    )
    assert out == "interrupted\n"


def test_ctrl_c_in_a_runner_cancels_the_main_task(snippet):
    out = snippet(
        """
        async def main():
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                print("cancelled")
                raise
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert out == "cancelled\ninterrupted\n"


def test_a_handler_set_with_the_signal_module_runs_while_the_loop_polls(snippet):
    out = snippet(
        """
        loop = new_loop()
        def handler(number, frame):
            print("handler", number == signal.SIGUSR1)
            loop.call_soon_threadsafe(loop.stop)
        signal.signal(signal.SIGUSR1, handler)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        loop.call_later(10, print)
        loop.run_forever()
        loop.close()
        """
    )
    assert out == "handler True\n"


def test_a_handler_of_the_signal_module_that_raises_ends_the_run(snippet):
    out = snippet(
        """
        loop = new_loop()
        class Alarm(Exception):
            pass
        def handler(number, frame):
            raise Alarm("rang")
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        loop.call_later(5, lambda: os._exit(3))
        try:
            loop.run_forever()
        except Alarm as exc:
            print("Alarm", exc, loop.is_running())
        loop.close()
        """
    )
    assert out == "Alarm rang False\n"


def test_the_signal_module_set_later_does_not_unhook_the_loop(snippet):
    """The loop reads signal numbers from the wake-up descriptor, whoever owns the C handler."""
    out = snippet(
        """
        loop = new_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: (print("loop"), loop.stop()))
        signal.signal(signal.SIGUSR1, lambda *_: print("program"))
        loop.call_soon(signal.raise_signal, signal.SIGUSR1)
        loop.run_forever()
        loop.close()
        """
    )
    assert sorted(out.split()) == ["loop", "program"]


def test_a_foreign_wakeup_descriptor_is_restored(snippet, loop_name):
    out = snippet(
        """
        left, right = socket.socketpair()
        for end in left, right:
            end.setblocking(False)
        signal.set_wakeup_fd(left.fileno())
        loop = new_loop()
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.close()
        print(signal.set_wakeup_fd(-1) == left.fileno())
        """
    )
    assert out == "True\n"


def test_a_foreign_wakeup_descriptor_is_restored_after_ctrl_c(snippet):
    out = snippet(
        """
        left, right = socket.socketpair()
        for end in left, right:
            end.setblocking(False)
        signal.set_wakeup_fd(left.fileno())
        loop = new_loop()
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        loop.call_later(5, lambda: os._exit(3))
        # asyncio only polls signals here because the timer thread's end wakes it
        loop.call_later(0.3, lambda: None)
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            print("interrupted")
        loop.close()
        print(signal.set_wakeup_fd(-1) == left.fileno())
        """
    )
    assert out == "interrupted\nTrue\n"


def test_no_descriptor_warning_when_many_signals_arrive(snippet):
    """A burst that fills the wake-up descriptor must not print a warning or lose the handler."""
    out = snippet(
        """
        loop = new_loop()
        count = 0
        def handler():
            global count
            count += 1
        loop.add_signal_handler(signal.SIGUSR1, handler)
        def burst():
            for _ in range(2000):
                signal.raise_signal(signal.SIGUSR1)
        loop.call_soon(burst)
        loop.run_until_complete(asyncio.sleep(0.05))
        print(0 < count <= 2000)
        loop.close()
        """,
        stderr=None,
    )
    assert out == "True\n"


def test_a_signal_handler_survives_between_runs(snippet):
    out = snippet(
        """
        loop = new_loop()
        loop.add_signal_handler(signal.SIGUSR1, print, "seen")
        loop.run_until_complete(asyncio.sleep(0))
        signal.raise_signal(signal.SIGUSR1)
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
        """
    )
    assert out == "seen\n"


def test_an_error_in_a_handler_is_reported(snippet):
    snippet(
        """
        loop = new_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: 1 / 0)
        loop.call_soon(signal.raise_signal, signal.SIGUSR1)
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
        """,
        stderr="ZeroDivisionError",
    )


@pytest.mark.parametrize("where", ["task", "callback"])
def test_keyboard_interrupt_leaves_the_loop_usable(snippet, where):
    out = snippet(
        f"""
        loop = new_loop()
        async def main():
            await asyncio.sleep(0)
            signal.raise_signal(signal.SIGINT)
        if "{where}" == "task":
            task = loop.create_task(main())
        else:
            loop.call_soon(signal.raise_signal, signal.SIGINT)
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            print("interrupted")
        if "{where}" == "task":
            print(task.done())
            task.exception()
        print(loop.run_until_complete(asyncio.sleep(0, "usable")))
        loop.close()
        """,
        stderr=None,
    )
    assert out.startswith("interrupted\n") and out.endswith("usable\n")
