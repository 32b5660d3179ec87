"""A coroutine is a function that can wait without holding up the rest of the program.

`async def` makes one, `await` waits in one, and `pyasync.run()` starts the first of them.
"""

import asyncio

import pyasync


async def greet(name: str) -> int:
    if not name:
        raise ValueError("nobody to greet")
    print(f"hello, {name}")
    await asyncio.sleep(0.1)  # this coroutine waits; others could run meanwhile
    print(f"goodbye, {name}")
    return len(name)


async def main() -> None:
    # Calling a coroutine function runs nothing yet: it makes a coroutine object ...
    coroutine = greet("Ada")
    print("made a", type(coroutine).__name__)

    # ... which runs when it is awaited. `await` gives what the function returns.
    letters = await coroutine
    print("letters in the name:", letters)

    # An exception comes out of `await` as it would come out of any other call.
    try:
        await greet("")
    except ValueError as error:
        print("failed:", error)

    loop = asyncio.get_running_loop()
    print("the loop is a", f"{type(loop).__module__.split('.')[0]}.{type(loop).__name__}")


if __name__ == "__main__":
    pyasync.run(main())  # instead of asyncio.run(main()): the only line that is not asyncio's
