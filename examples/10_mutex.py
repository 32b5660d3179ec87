"""A lock (mutex) keeps others out while a task changes something in several steps.

Tasks switch only at `await`, so code without one needs no lock. This code has one.
"""

import asyncio

import pyasync


class Account:
    def __init__(self) -> None:
        self.balance = 0
        self.lock = asyncio.Lock()

    async def deposit(self, amount: int) -> None:
        balance = self.balance  # read ...
        await asyncio.sleep(0.001)  # ... others run here and read the same balance ...
        self.balance = balance + amount  # ... and write over what they wrote

    async def deposit_locked(self, amount: int) -> None:
        async with self.lock:  # one at a time, in the order in which they came
            await self.deposit(amount)


async def main() -> None:
    account = Account()
    await asyncio.gather(*(account.deposit(1) for _ in range(100)))
    print("100 deposits without a lock:", account.balance)

    account = Account()
    await asyncio.gather(*(account.deposit_locked(1) for _ in range(100)))
    print("100 deposits with a lock:", account.balance)

    # A condition is a lock with a waiting room: wait until what it protects has changed.
    account = Account()
    changed = asyncio.Condition(account.lock)

    async def buy(price: int) -> str:
        async with changed:
            await changed.wait_for(lambda: account.balance >= price)  # gives the lock away
            account.balance -= price
        return f"bought for {price}, {account.balance} left"

    buyer = asyncio.create_task(buy(25))
    for _ in range(3):
        async with changed:
            await account.deposit(10)
            changed.notify_all()
    print(await buyer)

    # asyncio.Lock is for the tasks of one loop. Between threads use threading.Lock, and never
    # hold that across an await: it would stop the loop itself.


if __name__ == "__main__":
    pyasync.run(main())
