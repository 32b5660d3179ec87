"""Benchmarks of pyasync against asyncio, other event loops and a C libuv server; see README.md."""
