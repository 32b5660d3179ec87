"""A semaphore lets a bounded number of tasks in at once; the others wait in line."""

import asyncio

import pyasync
from pyasync import flow


class Server:
    """Stands for something that only bears so many users; remembers how many it had at once."""

    def __init__(self) -> None:
        self.users = 0
        self.most = 0

    async def use(self, number: int) -> int:
        self.users += 1
        self.most = max(self.most, self.users)
        await asyncio.sleep(0.02)
        self.users -= 1
        return number


async def main() -> None:
    server = Server()
    await asyncio.gather(*(server.use(number) for number in range(12)))
    print("without a semaphore, at once:", server.most)

    server, semaphore = Server(), asyncio.Semaphore(3)

    async def use_in_turn(number: int) -> int:
        async with semaphore:  # released however the block is left
            return await server.use(number)

    results = await asyncio.gather(*(use_in_turn(number) for number in range(12)))
    print("with a semaphore of 3, at once:", server.most)
    print("all were served:", results == list(range(12)))

    # A bounded semaphore notices a release that nobody had acquired: a bug in the program.
    bounded = asyncio.BoundedSemaphore(1)
    try:
        bounded.release()
    except ValueError as error:
        print("bounded:", error)

    # For a list of inputs flow.map does the same in a line, and starts no task before its turn.
    server = Server()
    await flow.map(server.use, range(12), limit=3)
    print("with flow.map(limit=3), at once:", server.most)


if __name__ == "__main__":
    pyasync.run(main())
