"""Cancelling tasks: counts, messages, timing, what a coroutine may do about it."""

import asyncio
import sys

import pytest

from tests.support import turn, turns

BOTH_MODES = True


def test_a_task_that_has_not_started(loop):
    seen = []

    async def body():
        seen.append("ran")

    task = loop.create_task(body())
    assert task.cancel() is True
    assert not task.done()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert task.cancelled() and seen == []


def test_a_task_that_waits(loop):
    async def body(future):
        await future

    future = loop.create_future()
    task = loop.create_task(body(future))
    turn(loop)
    assert task.cancel("message") is True
    assert future.cancelled()
    assert not task.done()
    with pytest.raises(asyncio.CancelledError) as caught:
        loop.run_until_complete(task)
    assert task.cancelled() and caught.value.args == ("message",)


def test_a_finished_task_cannot_be_cancelled(loop):
    task = loop.create_task(asyncio.sleep(0))
    loop.run_until_complete(task)
    assert task.cancel() is False and task.cancelling() == 0


def test_counts(same_as_asyncio):
    def body(loop):
        async def waits():
            await loop.create_future()

        task = loop.create_task(waits())
        turn(loop)
        found = [task.cancelling(), task.cancel(), task.cancelling(), task.cancel()]
        found += [task.cancelling(), task.uncancel(), task.uncancel(), task.uncancel()]
        turn(loop, 2)
        found += [task.cancelled(), task.cancelling()]
        return found

    assert same_as_asyncio(body) == [0, True, 1, True, 2, 1, 0, 0, True, 0]


def test_uncancel_before_the_cancellation_is_delivered(loop):
    """From Python 3.13 uncancel() down to zero takes a cancellation back that is only due."""

    async def body():
        task = asyncio.current_task()
        task.cancel()
        task.uncancel()
        await asyncio.sleep(0)
        return "went on"

    task = loop.create_task(body())
    if sys.version_info >= (3, 13):
        assert loop.run_until_complete(task) == "went on"
    else:
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)


def test_a_task_cancels_itself(loop):
    seen = []

    async def body():
        asyncio.current_task().cancel()
        seen.append("still here")
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.append("cancelled at the next await")
            raise

    task = loop.create_task(body())
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert seen == ["still here", "cancelled at the next await"]


def test_a_task_that_cancels_itself_and_returns(same_as_asyncio):
    def body(loop):
        async def waits():
            asyncio.current_task().cancel()
            return "result"

        task = loop.create_task(waits())
        turn(loop, 2)
        return task.cancelled(), task.done()

    assert same_as_asyncio(body) == (True, True)


def test_swallowing_the_cancellation(loop):
    async def body():
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            return "swallowed"

    task = loop.create_task(body())
    turn(loop)
    task.cancel()
    assert loop.run_until_complete(task) == "swallowed"
    assert not task.cancelled() and task.cancelling() == 1


def test_replacing_the_cancellation_by_an_error(loop):
    async def body():
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            raise LookupError("instead") from None

    task = loop.create_task(body())
    turn(loop)
    task.cancel()
    with pytest.raises(LookupError, match="instead"):
        loop.run_until_complete(task)


def test_cancelling_after_the_future_is_done_but_before_the_wake_up(same_as_asyncio):
    def body(loop):
        log = []

        async def waits(future):
            try:
                log.append(await future)
            except asyncio.CancelledError:
                log.append("cancelled")
                raise

        future = loop.create_future()
        task = loop.create_task(waits(future))
        turn(loop)
        future.set_result("result")
        log.append(task.cancel())
        turn(loop, 3)
        return log, task.cancelled()

    assert same_as_asyncio(body) == ([True, "cancelled"], True)


def test_cancelling_between_wake_up_and_step(same_as_asyncio):
    def body(loop):
        log = []

        async def waits(future):
            try:
                log.append(await future)
                await asyncio.sleep(0)
                log.append("went on")
            except asyncio.CancelledError:
                log.append("cancelled")

        future = loop.create_future()
        task = loop.create_task(waits(future))
        turn(loop)
        loop.call_soon(future.set_result, "result")
        loop.call_soon(task.cancel)
        turn(loop, 5)
        return log, task.cancelled(), task.done()

    same_as_asyncio(body)


def test_cancelling_a_chain_reaches_the_innermost(loop):
    seen = []

    async def inner():
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError as exc:
            seen.append(exc.args)
            raise

    async def outer(task):
        await task

    innermost = loop.create_task(inner())
    middle = loop.create_task(outer(innermost))
    outermost = loop.create_task(outer(middle))
    turn(loop, 3)
    outermost.cancel("from outside")
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(outermost)
    assert seen == [("from outside",)]
    assert innermost.cancelled() and middle.cancelled() and outermost.cancelled()


def test_cancelling_a_gather(loop):
    async def body():
        tasks = [asyncio.ensure_future(asyncio.sleep(1000)) for _ in range(3)]
        group = asyncio.gather(*tasks)
        await asyncio.sleep(0)
        group.cancel()
        with pytest.raises(asyncio.CancelledError):
            await group
        assert all(task.cancelled() for task in tasks)

    loop.run_until_complete(body())


def test_the_awaiting_task_sees_the_cancellation_of_what_it_awaits(loop):
    async def body():
        task = asyncio.ensure_future(asyncio.sleep(1000))
        await asyncio.sleep(0)
        task.cancel("inner")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert asyncio.current_task().cancelling() == 0
        return caught.value.args

    expected = loop.run_until_complete(body())
    assert expected == ("inner",)


@pytest.mark.parametrize("message", [None, "text", 5])
def test_messages(same_as_asyncio, message):
    def body(loop):
        async def waits():
            await loop.create_future()

        found = []
        for started in (False, True):
            task = loop.create_task(waits())
            if started:
                turn(loop)
            task.cancel() if message is None else task.cancel(message)
            try:
                loop.run_until_complete(task)
            except asyncio.CancelledError as exc:
                found.append(exc.args)
            try:
                task.result()
            except asyncio.CancelledError as exc:
                found.append(exc.args)
        return found

    same_as_asyncio(body)


def test_cancelling_a_task_that_awaits_itself_through_others(loop):
    """A cycle of awaits: cancel() must not recurse for ever."""
    tasks = []

    async def waits(index):
        await turns(1)
        await asyncio.wait([tasks[index]])

    async def body():
        tasks.append(asyncio.ensure_future(waits(1)))
        tasks.append(asyncio.ensure_future(waits(0)))
        await turns(4)
        tasks[0].cancel()
        await asyncio.wait(tasks, timeout=5)
        assert all(task.done() for task in tasks)

    loop.run_until_complete(body())


def test_timeout_turns_its_own_cancellation_into_timeout_error(loop):
    async def body():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.002):
                await asyncio.sleep(1000)
        assert asyncio.current_task().cancelling() == 0
        task = asyncio.current_task()
        loop.call_later(0.001, task.cancel, "from outside")
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(10):
                await asyncio.sleep(1000)
        assert task.cancelling() == 1
        assert task.uncancel() == 0

    loop.run_until_complete(body())


def test_cancelling_many_in_one_batch(loop):
    async def body():
        tasks = [asyncio.ensure_future(asyncio.sleep(1000)) for _ in range(500)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        done, pending = await asyncio.wait(tasks)
        assert len(done) == 500 and all(task.cancelled() for task in done)

    loop.run_until_complete(body())


def test_cancel_in_a_done_callback_of_the_awaited_future(same_as_asyncio):
    def body(loop):
        log = []

        async def waits(future):
            try:
                log.append(await future)
            except asyncio.CancelledError:
                log.append("cancelled")

        future = loop.create_future()
        future.add_done_callback(lambda f: log.append(task.cancel()))
        task = loop.create_task(waits(future))
        turn(loop)
        future.set_result("result")
        turn(loop, 4)
        return log, task.done()

    same_as_asyncio(body)
