"""CPython's own asyncio tests as the referee for pyasync: `python -m tests.cpython --help`."""
