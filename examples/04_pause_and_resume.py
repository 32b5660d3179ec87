"""Pausing tasks and letting them go on: with an Event, or with a Gate the tasks know nothing of."""

import asyncio

import pyasync
from pyasync import flow


class Counter:
    """Counts its steps, one every few milliseconds, for ever."""

    def __init__(self) -> None:
        self.steps = 0

    async def run(self) -> None:
        while True:
            self.steps += 1
            await asyncio.sleep(0.005)

    async def run_when_set(self, running: asyncio.Event) -> None:
        while True:
            await running.wait()  # here it stands still while the event is not set
            self.steps += 1
            await asyncio.sleep(0.005)

    async def more_than(self, steps: int, within: float = 5) -> bool:
        """Wait until there have been more steps; False if there are none within the time."""
        try:
            async with asyncio.timeout(within):
                while self.steps <= steps:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            return False
        return True


async def main() -> None:
    # 1. The task looks at an event itself, where it is safe to stop.
    counter, running = Counter(), asyncio.Event()
    running.set()
    task = asyncio.create_task(counter.run_when_set(running))
    print("event, running: it counts:", await counter.more_than(10))
    running.clear()
    print("event, paused:  it counts:", await counter.more_than(counter.steps, 0.2))
    running.set()
    print("event, resumed: it counts:", await counter.more_than(counter.steps))
    task.cancel()

    # 2. A gate holds tasks that were not written for it, at whatever they await next.
    gate = flow.Gate()
    counters = [Counter(), Counter(), Counter()]
    tasks = [asyncio.create_task(gate.wrap(each.run())) for each in counters]
    await asyncio.gather(*(each.more_than(10) for each in counters))
    gate.pause()
    await asyncio.sleep(0.05)  # each finishes the sleep that it is in, and is held after it
    print("gate, paused: tasks held:", gate.waiting)
    before = [each.steps for each in counters]
    await asyncio.sleep(0.1)
    print("gate, paused: steps made:", sum(each.steps for each in counters) - sum(before))
    gate.resume()
    went_on = [each.more_than(steps) for each, steps in zip(counters, before, strict=True)]
    print("gate, resumed: all count:", all(await asyncio.gather(*went_on)))

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    pyasync.run(main())
