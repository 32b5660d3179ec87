"""What becomes of exceptions nobody catches: handlers, contexts, log records."""

import logging
import sys

import pytest

from tests.support import error_of, plain, turn


def test_the_default_handler_logs_with_the_traceback(loop, asyncio_log):
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    (record,) = asyncio_log.records
    assert record.levelno == logging.ERROR
    assert record.exc_info[0] is ZeroDivisionError
    assert record.exc_info[2] is not None
    assert asyncio_log.take()[0].startswith("Exception in callback ")


def test_the_message_is_asyncios(same_as_asyncio):
    def body(loop):
        found = []
        loop.set_exception_handler(lambda loop, context: found.append(context))

        def failing(argument):
            raise ValueError(argument)

        loop.call_soon(failing, 1)
        loop.call_later(0, failing, 2)
        turn(loop, 2)
        return [(plain(c["message"]), sorted(c), str(c["exception"])) for c in found]

    results = same_as_asyncio(body)
    assert [text for _, _, text in results] == ["1", "2"]
    assert results[0][1] == ["exception", "handle", "message"]


def test_the_handler_is_settable_and_checked(same_as_asyncio):
    def body(loop):
        def handler(loop, context):
            pass

        first = loop.get_exception_handler()
        loop.set_exception_handler(handler)
        second = loop.get_exception_handler() is handler
        loop.set_exception_handler(None)
        return first, second, loop.get_exception_handler(), error_of(loop.set_exception_handler, 5)

    first, second, third, (kind, text) = same_as_asyncio(body)
    assert (first, second, third, kind) == (None, True, None, "TypeError")


def test_the_handler_gets_the_loop(loop):
    seen = []
    loop.set_exception_handler(lambda *args: seen.append(args))
    loop.call_exception_handler({"message": "by hand", "anything": 1})
    assert seen == [(loop, {"message": "by hand", "anything": 1})]


def test_a_handler_that_raises_is_logged(loop, asyncio_log):
    def handler(loop, context):
        raise LookupError("in the handler")

    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    (message,) = asyncio_log.take()
    assert message.startswith("Unhandled error in exception handler")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_handler_that_interrupts_ends_the_run(loop, kind):
    def handler(loop, context):
        raise kind

    seen = []
    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(seen.append, "rest")
    with pytest.raises(kind):
        loop.run_forever()
    turn(loop)
    assert seen == ["rest"]


def test_an_overridden_default_handler_is_called(new_loop):
    probe = new_loop()
    seen = []

    class Mine(type(probe)):
        def default_exception_handler(self, context):
            seen.append(context["message"])

    probe.close()
    loop = Mine()
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    loop.close()
    assert len(seen) == 1 and seen[0].startswith("Exception in callback")


def test_an_overridden_call_exception_handler_is_called(new_loop):
    probe = new_loop()
    seen = []

    class Mine(type(probe)):
        def call_exception_handler(self, context):
            seen.append(context["exception"])

    probe.close()
    loop = Mine()
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    loop.close()
    assert [type(exc) for exc in seen] == [ZeroDivisionError]


def test_an_exception_nobody_retrieved_is_reported(loop):
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))
    future = loop.create_future()
    future.set_exception(ValueError("lost"))
    text = repr(future)
    del future
    (context,) = found
    assert context["message"] == "Future exception was never retrieved"
    assert str(context["exception"]) == "lost"
    assert plain(repr(context["future"])) == plain(text)


def test_a_task_exception_nobody_retrieved_is_reported(loop, asyncio_log):
    async def failing():
        raise ValueError("lost")

    task = loop.create_task(failing(), name="lonely")
    turn(loop, 2)
    del task
    (record,) = asyncio_log.records
    assert record.exc_info[0] is ValueError
    (message,) = asyncio_log.take()
    assert message.startswith(
        "Task exception was never retrieved\nfuture: <Task finished name='lonely'"
    )


@pytest.mark.parametrize("look", ["result", "exception", "await"])
def test_an_exception_somebody_retrieved_is_not_reported(loop, look):
    future = loop.create_future()
    future.set_exception(ValueError("seen"))
    if look == "exception":
        future.exception()
    else:
        with pytest.raises(ValueError):
            future.result() if look == "result" else loop.run_until_complete(future)


def test_a_pending_task_that_is_destroyed_is_reported(loop):
    import gc

    found = []

    def handler(loop, context):
        # Keeping the context would keep the task alive after its end.
        found.append((context["message"], context["task"].get_name(), sorted(context)))

    loop.set_exception_handler(handler)

    async def waits():
        await loop.create_future()

    task = loop.create_task(waits(), name="destroyed")
    turn(loop)
    del task
    gc.collect()
    assert found == [("Task was destroyed but it is pending!", "destroyed", ["message", "task"])]


def test_context_variables_of_the_callback_are_visible_to_the_handler(loop):
    """From Python 3.12 the handler runs in the context of the failed handle."""
    import contextvars
    import sys

    variable = contextvars.ContextVar("variable", default="none")
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(variable.get()))

    def failing():
        variable.set("of the callback")
        raise ValueError

    loop.call_soon(failing)
    turn(loop)
    assert seen == ["of the callback" if sys.version_info >= (3, 12) else "none"]


def test_the_handler_runs_inside_the_handling_of_the_exception(same_as_asyncio):
    def body(loop):
        seen = []

        def handler(loop, context):
            seen.append(sys.exc_info()[1] is context["exception"])
            raise ZeroDivisionError

        def fails():
            raise ValueError("of a callback")

        loop.set_exception_handler(handler)
        loop.default_exception_handler = lambda context: seen.append(
            (context["message"], repr(context["exception"].__context__))
        )
        loop.call_soon(fails)
        turn(loop)
        seen.append(sys.exc_info())
        loop.close()
        return seen

    assert same_as_asyncio(body) == [
        True,
        ("Unhandled error in exception handler", "ValueError('of a callback')"),
        (None, None, None),
    ]


def test_debug_mode_tells_the_default_handler_which_handle_runs(same_as_asyncio, asyncio_log):
    def body(loop):
        loop.set_debug(True)
        loop.slow_callback_duration = 60
        loop.call_soon(lambda: loop.call_exception_handler({"message": "by hand"}))
        turn(loop)
        loop.call_exception_handler({"message": "outside"})
        loop.close()
        return [text.splitlines()[:2] for text in asyncio_log.take()]

    inside, outside = same_as_asyncio(body)
    assert inside == ["by hand", "handle_traceback: Handle created at (most recent call last):"]
    assert outside == ["outside"]
