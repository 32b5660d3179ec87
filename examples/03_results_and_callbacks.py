"""Where the result of a task goes: to who awaits it, to a callback, or to whoever asks later.

Also futures, the place for a result that some other code will bring.
"""

import asyncio
from typing import Any

import pyasync


async def divide(a: float, b: float) -> float:
    await asyncio.sleep(0.05)
    return a / b


def report(task: asyncio.Task[Any]) -> None:
    """A callback: the loop calls it with the task as soon as the task has ended."""
    if task.cancelled():
        print(f"callback: {task.get_name()} was cancelled")
    elif error := task.exception():
        print(f"callback: {task.get_name()} failed: {error}")
    else:
        print(f"callback: {task.get_name()} gave {task.result()}")


async def main() -> None:
    good = asyncio.create_task(divide(6, 3), name="6/3")
    bad = asyncio.create_task(divide(1, 0), name="1/0")
    late = asyncio.create_task(asyncio.sleep(60), name="late")
    for task in (good, bad, late):
        task.add_done_callback(report)

    # A task that is not done has no result yet.
    try:
        good.result()
    except asyncio.InvalidStateError as error:
        print("too early:", error)

    # gather() gives results in the order of its arguments. With return_exceptions it
    # gives failures too, instead of raising the first.
    late.cancel()
    results = await asyncio.gather(good, bad, late, return_exceptions=True)
    print("gathered:", [type(result).__name__ for result in results])

    # as_completed() gives them in the order in which they end.
    async def after(seconds: float, name: str) -> str:
        await asyncio.sleep(seconds)
        return name

    waits = [after(0.2, "slow"), after(0.02, "fast"), after(0.1, "medium")]
    print("as completed:", [await one for one in asyncio.as_completed(waits)])

    # A future is a result without a coroutine: code that only knows callbacks sets it.
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    loop.call_later(0.05, future.set_result, "set by a timer")
    print("future:", await future)


if __name__ == "__main__":
    pyasync.run(main())
