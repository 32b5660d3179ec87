"""Tests of pyasync: every behaviour is shown on asyncio's own loop and on pyasync's."""
