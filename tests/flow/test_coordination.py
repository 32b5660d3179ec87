"""Gates, latches, locks, channels, select, abort signals and sagas."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyasync import flow
from tests.flow.striking import residue
from tests.support import turns


async def test_a_gate_holds_wrapped_coroutines_at_any_await(loop):
    gate = flow.Gate()
    steps = []

    async def work():
        for number in range(4):
            steps.append(number)
            await asyncio.sleep(0)
        return "done"

    task = loop.create_task(gate.wrap(work()))
    await turns(2)
    gate.pause()
    assert gate.paused
    await turns(5)
    held = list(steps)
    assert 0 < len(held) < 4 and gate.waiting == 1
    gate.resume()
    assert await task == "done" and steps == [0, 1, 2, 3]


async def test_a_held_task_can_be_cancelled_and_keeps_what_it_waited_for(loop):
    gate = flow.Gate(paused=True)
    cleaned = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    task = loop.create_task(gate.wrap(work()))
    await turns(2)
    task.cancel()
    await turns(3)
    assert task.cancelled() and cleaned == [], "it never began"
    gate.resume()
    future = loop.create_future()

    async def wait():
        return await future

    task = loop.create_task(gate.wrap(wait()))
    await turns(2)
    gate.pause()
    future.set_result("kept")
    await turns(3)
    assert not task.done()
    gate.resume()
    assert await task == "kept"
    task = loop.create_task(gate.wrap(work()))
    await turns(2)
    gate.pause()
    task.cancel()
    await turns(2)
    gate.resume()
    await asyncio.wait([task])
    assert task.cancelled() and cleaned == [True]


async def test_a_wrapped_coroutine_passes_exceptions(loop):
    async def work():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("mine") from None

    task = loop.create_task(flow.Gate().wrap(work()))
    await turns(2)
    task.cancel()
    with pytest.raises(ValueError, match="mine"):
        await task


async def test_a_latch_opens_at_zero(loop):
    latch = flow.Latch(3)
    waiting = loop.create_task(latch.wait())
    latch.count_down()
    await turns(2)
    assert not waiting.done() and latch.waiting == 1 and latch.count == 2
    latch.count_down(2)
    await waiting
    await latch.wait()
    with pytest.raises(ValueError, match="cannot count down by 1: 0 left"):
        latch.count_down()
    with pytest.raises(ValueError, match="must not be negative"):
        flow.Latch(-1)
    with pytest.raises(ValueError):
        flow.Latch(1).count_down(0)


async def test_a_cancelled_writer_lets_the_readers_behind_it_go_at_once(loop):
    lock = flow.ReadWriteLock()
    async with lock.read():
        writer = loop.create_task(_hold(lock.write()))
        await turns(2)
        reader = loop.create_task(_hold(lock.read()))
        await turns(2)
        assert lock.waiting == 2 and not reader.done(), "it waits behind the writer"
        writer.cancel()
        await turns(4)
        assert reader.done()


async def _hold(block):
    async with block:
        await asyncio.sleep(0)


SHARED = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # the loop is shared by the examples on purpose


@SHARED
@given(users=st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 4)), max_size=10))
def test_readers_share_and_writers_do_not_and_all_get_in(loop, users):
    lock = flow.ReadWriteLock()
    order = []

    async def user(number, writer, before, held):
        await turns(before)
        async with lock.write() if writer else lock.read():
            order.append(number)
            for _ in range(held):
                assert lock.writing == writer
                assert lock.readers == 0 if writer else lock.readers > 0
                await asyncio.sleep(0)

    async def main():
        await flow.parallel([lambda n=n, u=u: user(n, *u) for n, u in enumerate(users)], limit=None)

    loop.run_until_complete(main())
    assert sorted(order) == list(range(len(users)))
    assert (lock.readers, lock.writing, lock.waiting) == (0, False, 0)


@SHARED
@given(
    maxsize=st.integers(0, 3),
    producers=st.lists(st.lists(st.integers(0, 2), max_size=5), min_size=1, max_size=3),
    consumers=st.lists(st.integers(0, 2), min_size=1, max_size=3),
)
def test_a_channel_gives_every_item_once_and_in_order(loop, maxsize, producers, consumers):
    channel = flow.Channel(maxsize)

    async def produce(name, delays):
        for number, delay in enumerate(delays):
            await turns(delay)
            await channel.put((name, number))
            assert maxsize == 0 or channel.qsize() <= maxsize

    async def consume(delay):
        found = []
        async for item in channel:
            found.append(item)
            await turns(delay)
        return found

    async def main():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(consume(delay)) for delay in consumers]
            await flow.parallel(
                [lambda n=n, d=d: produce(n, d) for n, d in enumerate(producers)], limit=None
            )
            channel.close()
        return [task.result() for task in tasks]

    found = loop.run_until_complete(main())
    everything = [item for items in found for item in items]
    wants = [
        (name, number) for name, delays in enumerate(producers) for number in range(len(delays))
    ]
    assert sorted(everything) == wants
    for items in found:
        for name in range(len(producers)):
            numbers = [number for owner, number in items if owner == name]
            assert numbers == sorted(numbers)
    assert channel.waiting == 0


async def test_a_closed_channel_can_be_emptied(loop):
    channel = flow.Channel(2)
    assert (channel.maxsize, channel.empty(), channel.full()) == (2, True, False)
    with pytest.raises(asyncio.QueueEmpty):
        channel.get_nowait()
    channel.put_nowait(1)
    channel.put_nowait(2)
    with pytest.raises(asyncio.QueueFull):
        channel.put_nowait(3)
    putting = loop.create_task(channel.put(3))
    await turns(2)
    assert repr(channel) == "<Channel open 2 of 2>"
    channel.close()
    assert channel.closed
    with pytest.raises(flow.ChannelClosed):
        await putting
    with pytest.raises(flow.ChannelClosed):
        channel.put_nowait(3)
    assert [await channel.get(), channel.get_nowait()] == [1, 2]
    with pytest.raises(flow.ChannelClosed):
        await channel.get()
    with pytest.raises(flow.ChannelClosed):
        channel.get_nowait()
    with pytest.raises(ValueError):
        flow.Channel(-1)


async def test_select_takes_from_the_first_that_has_an_item(loop):
    left, right = flow.Channel(), flow.Channel()
    left.put_nowait("l")
    right.put_nowait("r")
    assert await flow.select(right, left) == (right, "r")
    selecting = loop.create_task(flow.select(right))
    await turns(2)
    assert right.waiting == 1
    right.put_nowait("again")
    assert await selecting == (right, "again")
    right.close()
    assert await flow.select(right, left) == (left, "l")
    selecting = loop.create_task(flow.select(right, left))
    await turns(2)
    left.close()
    with pytest.raises(flow.ChannelClosed):
        await selecting
    with pytest.raises(ValueError, match="at least one channel"):
        await flow.select()


async def test_select_passes_on_the_wake_up_that_it_does_not_use(loop):
    left, right = flow.Channel(), flow.Channel()
    selecting = loop.create_task(flow.select(left, right))
    getting = loop.create_task(asyncio.sleep(0, None))
    await turns(2)
    getting = loop.create_task(right.get())
    await turns(2)
    right.put_nowait("r")  # wakes the select, first in line
    left.put_nowait("l")  # which then takes this one
    assert await selecting == (left, "l")
    assert await asyncio.wait_for(getting, 5) == "r"


async def test_an_aborted_signal_cancels_its_blocks_with_its_reason(loop):
    controller = flow.AbortController()
    reason = ValueError("because")
    entered = 0

    async def guarded():
        nonlocal entered
        async with controller.signal:
            entered += 1
            await asyncio.sleep(60)

    tasks = [loop.create_task(guarded()) for _ in range(2)]
    await turns(2)
    controller.abort(reason)
    controller.abort(KeyError("too late"))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results == [reason, reason] and entered == 2
    assert controller.signal.aborted and controller.signal.reason is reason
    with pytest.raises(ValueError, match="because"):
        controller.signal.throw_if_aborted()
    with pytest.raises(ValueError, match="because"):
        await guarded()
    assert asyncio.current_task().cancelling() == 0


async def test_a_task_may_abort_itself_and_still_complete(loop):
    controller = flow.AbortController()
    async with controller.signal:
        controller.abort()
    await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0
    second = flow.AbortController()
    with pytest.raises(flow.Aborted, match="stop"):
        async with second.signal:
            second.abort("stop")
            await asyncio.sleep(0)


async def test_a_cancellation_from_outside_wins_over_an_abort(loop):
    controller = flow.AbortController()

    async def guarded():
        async with controller.signal:
            await asyncio.sleep(60)

    async def abort_itself():
        async with controller.signal:
            controller.abort()
            asyncio.current_task().cancel()

    for make in (guarded, abort_itself):
        task = loop.create_task(make())
        await turns(2)
        controller.abort()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        controller = flow.AbortController()


async def test_nested_blocks_of_one_signal_end_with_one_reason(loop):
    controller = flow.AbortController()
    loop.call_soon(controller.abort)
    with pytest.raises(flow.Aborted):
        async with controller.signal, controller.signal:
            await asyncio.sleep(60)
    assert asyncio.current_task().cancelling() == 0


async def test_signals_combine_time_out_and_call_back(loop):
    first, second = flow.AbortController(), flow.AbortController()
    either = flow.AbortSignal.any([first.signal, second.signal])
    called = []
    either.add_callback(lambda: called.append("called"))
    undo = either.add_callback(lambda: called.append("never"))
    undo()
    waiting = loop.create_task(either.wait())
    await turns(2)
    second.abort("second")
    assert str(await waiting) == "second" and called == ["called"]
    either.add_callback(lambda: called.append("at once"))
    assert called == ["called", "at once"]
    late = flow.AbortSignal.timeout(0.001)
    with pytest.raises(TimeoutError, match="the signal timed out"):
        async with late:
            await asyncio.sleep(60)
    assert flow.AbortSignal().reason is None
    assert flow.AbortSignal.any([second.signal]).aborted
    flow.AbortSignal().throw_if_aborted()


async def test_a_combined_signal_is_known_to_its_parts_only_while_somebody_listens(loop):
    controller = flow.AbortController()
    combined = flow.AbortSignal.any([controller.signal])
    undo = combined.add_callback(print)
    assert residue(controller.signal)
    undo()
    assert not residue(controller.signal)
    async with combined:
        assert residue(controller.signal)
    assert not residue(controller.signal)
    with pytest.raises(flow.Aborted):
        async with combined:
            controller.abort()
            await asyncio.sleep(0)
    assert not residue(controller.signal) and not residue(combined)


async def test_a_callback_that_fails_does_not_stop_the_others(loop):
    reported, called = [], []
    loop.set_exception_handler(lambda loop, context: reported.append(context["message"]))
    controller = flow.AbortController()
    controller.signal.add_callback(lambda: 1 // 0)
    controller.signal.add_callback(lambda: called.append(True))
    controller.abort()
    assert called and reported == ["pyasync.flow: a callback of an abort signal failed"]


def test_a_signal_is_entered_in_a_task_only(new_loop):
    loop = new_loop()

    async def enter():
        async with flow.AbortSignal():
            pass

    coro = enter()
    loop.call_soon(lambda: errors.append(_step(coro)))
    errors = []
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert "only inside a task" in str(errors[0])


def _step(coro):
    try:
        coro.send(None)
    except RuntimeError as error:
        return error


class Steps:
    """Actions and compensations that write down what happened."""

    def __init__(self):
        self.done = []

    def action(self, name, error=None):
        async def act():
            await asyncio.sleep(0)
            if error is not None:
                raise error
            self.done.append(name)
            return name

        return act

    def undo(self, error=None):
        async def undo(name):
            await asyncio.sleep(0)
            self.done.append(f"undo {name}")
            if error is not None:
                raise error

        return undo


async def test_a_saga_that_succeeds_undoes_nothing(loop):
    steps = Steps()
    async with flow.Saga() as saga:
        assert await saga.step(steps.action("a"), steps.undo()) == "a"
    assert steps.done == ["a"]


async def test_a_failed_saga_is_undone_backwards(loop):
    steps = Steps()
    with pytest.raises(OSError):
        async with flow.Saga() as saga:
            await saga.step(steps.action("a"), steps.undo())
            await saga.step(steps.action("b"))
            await saga.step(steps.action("c"), lambda name: steps.done.append(f"undo {name}"))
            await saga.step(steps.action("d", OSError()), steps.undo())
    assert steps.done == ["a", "b", "c", "undo c", "undo a"]


async def test_a_saga_skips_no_compensation_and_reports_their_errors(loop):
    steps, error = Steps(), OSError("step")
    first, second = ValueError("first"), KeyError("second")
    with pytest.raises(ExceptionGroup) as caught:
        async with flow.Saga() as saga:
            await saga.step(steps.action("a"), steps.undo(first))
            await saga.step(steps.action("b"), steps.undo())
            await saga.step(steps.action("c"), steps.undo(second))
            raise error
    assert caught.value.exceptions == (error, second, first)
    assert steps.done[3:] == ["undo c", "undo b", "undo a"]


async def test_a_cancelled_saga_is_undone_even_when_cancelled_again(loop):
    reported = []
    loop.set_exception_handler(lambda loop, context: reported.append(context["exception"]))
    steps, failure = Steps(), ValueError("compensation")

    async def main():
        async with flow.Saga() as saga:
            await saga.step(steps.action("a"), steps.undo(failure))
            await saga.step(steps.action("b"), steps.undo())
            await asyncio.sleep(60)

    task = loop.create_task(main())
    while steps.done != ["a", "b"]:
        await asyncio.sleep(0)
    await turns(3)
    for _ in range(4):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert steps.done[2:] == ["undo b", "undo a"]
    assert caught.value.__cause__ is failure and reported == [failure]


async def test_a_step_that_completes_although_cancelled_is_undone(loop):
    steps = Steps()

    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            steps.done.append("stubborn")
            return "stubborn"

    async def main():
        async with flow.Saga() as saga:
            await saga.step(stubborn, steps.undo())

    task = loop.create_task(main())
    await turns(3)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() and steps.done == ["stubborn", "undo stubborn"]


async def test_a_saga_cancelled_while_it_is_undone_stays_cancelled(loop):
    steps = Steps()

    async def main():
        async with flow.Saga() as saga:
            await saga.step(steps.action("a"), steps.undo())
            raise OSError

    task = loop.create_task(main())
    while steps.done != ["a"]:
        await asyncio.sleep(0)
    await turns(2)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() and steps.done == ["a", "undo a"]


async def test_rollback_by_hand(loop):
    steps = Steps()
    saga = flow.Saga()
    await saga.step(steps.action("a"), steps.undo(ValueError("x")))
    with pytest.raises(ValueError, match="x"):
        await saga.rollback()
    await saga.rollback()
    assert steps.done == ["a", "undo a"]


async def test_a_step_that_fails_while_it_is_cancelled_is_the_cause(loop):
    failure = ValueError("cleaning up failed")

    async def action():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise failure from None

    task = loop.create_task(flow.Saga().step(action, print))
    await turns(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert caught.value.__cause__ is failure


async def test_a_cancelled_rollback_runs_to_its_end(loop):
    steps = Steps()
    saga = flow.Saga()
    for name in "abc":
        await saga.step(steps.action(name), steps.undo(ValueError(name)))
    task = loop.create_task(saga.rollback())
    await turns(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert steps.done[3:] == ["undo c", "undo b", "undo a"]
    assert [str(error) for error in caught.value.__cause__.exceptions] == ["c", "b", "a"]
