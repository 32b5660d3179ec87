"""Makes failure, cancellation and time-out strike a scenario at every await point.

A scenario is `async def scenario(point, watch)`. Its workers call `await point(value)`, which
gives the loop a turn and returns the value; `watch(object)` names what must be at rest in the
end. A strike hits either at a point, where a worker is, or at a suspension of the scenario's own
task, which `stepped` counts. First a run without a strike counts both; then one run for every
kind of strike and every place follows. After each nothing may be left: no task, no waiter, no
permit, nothing in the loop's exception handler that asyncio put there.
"""

from __future__ import annotations

import asyncio
import gc
import types


class Strike(Exception):
    """The failure that strikes."""


class Points:
    """The places at which workers can be struck: before and after each wait."""

    def __init__(self, at=None, act=None):
        self.count = 0
        self.hit = False
        self._at = at
        self._act = act

    def _place(self):
        self.count += 1
        if self.count == self._at:
            self.hit = True
            self._act()

    async def __call__(self, value=None):
        self._place()
        await asyncio.sleep(0)
        self._place()
        return value


@types.coroutine
def stepped(coro, on_suspend):
    """Drive a coroutine and call `on_suspend(number, what it waits for)` at each suspension."""
    number = 0
    error = None
    while True:
        try:
            waits_for = coro.send(None) if error is None else coro.throw(error)
        except StopIteration as stop:
            return stop.value
        error = None
        number += 1
        on_suspend(number, waits_for)
        try:
            yield waits_for
        except BaseException as thrown:
            error = thrown


def residue(watched):
    """What an object that should be at rest still holds, as text."""
    held = []
    for name in ("waiting", "running", "readers", "writing", "pending"):
        if getattr(watched, name, 0):
            held.append(f"{name}={getattr(watched, name)}")
    if isinstance(watched, asyncio.Semaphore) and watched.locked():
        held.append("locked")
    for name in ("_callbacks", "_blocks", "_flights", "_entered", "_runs", "_out", "_undo"):
        if getattr(watched, name, None):
            held.append(f"{name}={getattr(watched, name)}")
    return [f"{watched!r}: {', '.join(held)}"] if held else []


class Outcome:
    """How one run of a scenario ended."""

    def __init__(self, task, points, suspensions, hit):
        self.points = points
        self.suspensions = suspensions
        self.hit = hit
        self.cancelled = task.cancelled()
        self.error = None if self.cancelled else task.exception()
        self.result = None if self.cancelled or self.error else task.result()

    def __repr__(self):
        if self.cancelled:
            return "<cancelled>"
        return f"<raised {self.error!r}>" if self.error else f"<returned {self.result!r}>"


def run(loop, scenario, kind=None, place=None):
    """Run a scenario once, struck by `kind` at `place`; check that nothing is left."""
    complaints = []

    def complain(_, context):
        if not context["message"].startswith("pyasync.flow: "):
            complaints.append(context)

    async def main():
        watched = []
        suspensions = 0
        hit = False
        scope = asyncio.timeout(None)
        task = None

        def fail():
            raise Strike(f"at point {place}")

        def fail_cancelled():
            raise asyncio.CancelledError(f"at point {place}")

        def cancel():
            nonlocal hit
            hit = task.cancel() or hit

        acts = {"failure": fail, "own cancel": fail_cancelled, "cancel": cancel}
        points = Points(place if kind in acts else None, acts.get(kind))

        def expire():
            if scope.when() is None:
                scope.reschedule(loop.time() - 1)

        def cancel_twice():
            cancel()
            loop.call_soon(lambda: loop.call_soon(task.cancel))

        def on_suspend(number, waits_for):
            nonlocal suspensions
            suspensions = number
            if number != place or kind is None or kind in acts:
                return
            what, when = kind.split()
            act = {"cancel": cancel, "twice": cancel_twice, "timeout": expire}[what]
            if when == "delivery" and isinstance(waits_for, asyncio.Future):
                # This runs before the task's own wake-up: the result is there, but not read.
                waits_for.add_done_callback(lambda _: act())
            else:
                loop.call_soon(act)

        async def body():
            async with scope:
                return await scenario(points, watched.append)

        async def driven():
            return await stepped(body(), on_suspend)

        task = loop.create_task(driven())
        await asyncio.wait([task], timeout=10)
        # Seen in the turn after the task has ended: nothing may end later than that.
        assert task.done(), f"hangs when struck by {kind} at {place}: {task.get_stack()}"
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"{kind} at {place} left {left}"
        held = [text for found in watched for text in residue(found)]
        assert not held, f"{kind} at {place} left {held}"
        struck = hit or scope.expired() or (kind in ("failure", "own cancel") and points.hit)
        return Outcome(task, points.count, suspensions, struck)

    loop.set_exception_handler(complain)
    outcome = loop.run_until_complete(main())
    assert not complaints, f"{kind} at {place}: {complaints}"
    return outcome


def leaves(error):
    """The exceptions in an exception group, or the exception itself."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


def check_failure(outcome, kind, place, tolerant):
    """The failure of a struck worker comes out, alone or in a group, unless `tolerant`."""
    if outcome.cancelled:
        assert kind == "own cancel", (kind, place, outcome)
    elif outcome.error is not None:
        kinds = (Strike, asyncio.CancelledError)
        assert any(isinstance(e, kinds) for e in leaves(outcome.error)), (kind, place, outcome)
    else:
        assert tolerant, (kind, place, outcome)


def strike_everywhere(loop, scenario, tolerant=False, completes=False):
    """Run a scenario once per kind of strike and place; return how many strikes hit.

    `tolerant`: failures of workers need not come out. `completes`: what is struck may still
    return its result (it began to, or guards its end against cancellation).
    """
    plain = run(loop, scenario)
    assert plain.error is None and not plain.cancelled, plain
    assert plain.points or plain.suspensions, "nothing to strike"
    hits = 0
    for kind in ("failure", "own cancel", "cancel"):
        for place in range(1, plain.points + 1):
            outcome = run(loop, scenario, kind, place)
            hits += outcome.hit
            if kind != "cancel":
                check_failure(outcome, kind, place, tolerant or not outcome.hit)
            else:
                same = outcome.result == plain.result
                assert outcome.cancelled or (same and outcome.error is None), (kind, place, outcome)
    for what in ("cancel", "twice", "timeout"):
        for when in ("soon", "delivery"):
            for place in range(1, plain.suspensions + 1):
                outcome = run(loop, scenario, f"{what} {when}", place)
                hits += outcome.hit
                if not outcome.hit or (completes and outcome.result == plain.result):
                    continue
                struck = (
                    isinstance(outcome.error, TimeoutError)
                    if what == "timeout"
                    else outcome.cancelled
                )
                assert struck or outcome.result == plain.result, (what, when, place, outcome)
                assert struck or when == "delivery" or completes, (what, when, place, outcome)
    gc.collect()
    run(loop, scenario)  # what the collection found would complain now
    assert hits
    return hits


def strike_one(loop, scenario, others=2):
    """Cancel one of several participants at each of its suspensions; the others must not notice.

    `await scenario(shared, number)` is one participant, number 0 the victim; `scenario.shared()`
    makes what they share. All must end, and leave what they share at rest.
    """
    place = 1
    while _strike_one(loop, scenario, others, "soon", place):
        _strike_one(loop, scenario, others, "delivery", place)
        place += 1
    return place


def _strike_one(loop, scenario, others, when, place):
    async def main():
        shared = scenario.shared()
        reached = False
        victim = None

        def on_suspend(number, waits_for):
            nonlocal reached
            if number == place:
                reached = True
                if when == "delivery" and isinstance(waits_for, asyncio.Future):
                    waits_for.add_done_callback(lambda _: victim.cancel())
                else:
                    loop.call_soon(victim.cancel)

        async def driven(number):
            coro = scenario(shared, number)
            return await (stepped(coro, on_suspend) if number == 0 else coro)

        tasks = [loop.create_task(driven(number)) for number in range(1 + others)]
        victim = tasks[0]
        _, pending = await asyncio.wait(tasks, timeout=10)
        assert not pending, f"victim cancelled {when} at {place}: {pending} hang"
        for task in tasks[1:]:
            task.result()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"victim cancelled {when} at {place} left {left}"
        assert not residue(shared), f"victim cancelled {when} at {place}: {residue(shared)}"
        return reached

    return loop.run_until_complete(main())
